"""StudioError carries its two sentences to the page unchanged."""

from __future__ import annotations

from storage.errors import StudioError


def test_reads_as_both_sentences() -> None:
    error = StudioError("Row 7 is empty.", "Delete it.")
    assert str(error) == "Row 7 is empty. Delete it."
    assert error.as_json() == {"message": "Row 7 is empty.", "remedy": "Delete it."}


def test_reads_well_without_a_remedy() -> None:
    assert str(StudioError("Row 7 is empty.")) == "Row 7 is empty."
