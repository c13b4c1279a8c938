"""StudioError carries its two sentences to the page unchanged."""

from __future__ import annotations

from storage.errors import DamagedDatabase, DiskFull, StudioError


def test_reads_as_both_sentences() -> None:
    error = StudioError("Row 7 is empty.", "Delete it.")
    assert str(error) == "Row 7 is empty. Delete it."
    assert error.as_json() == {"message": "Row 7 is empty.", "remedy": "Delete it."}


def test_reads_well_without_a_remedy() -> None:
    assert str(StudioError("Row 7 is empty.")) == "Row 7 is empty."


def test_what_it_quotes_neither_steers_a_terminal_nor_turns_the_writing_nor_breaks_the_line() -> None:
    error = StudioError("“\x1b[31m\u202evsc.exe\ud800” is\nno file.", "Rename “\0”.")
    assert error.as_json() == {
        "message": "“\ufffd[31m\ufffdvsc.exe\ufffd” is no file.",
        "remedy": "Rename “\ufffd”.",
    }
    str(error).encode()


def test_kinds_that_code_tells_apart_read_like_all_others() -> None:
    full = DiskFull("The disk is full.", "Free some space.", 7, 3)
    assert isinstance(full, StudioError) and (full.needed_bytes, full.free_bytes) == (7, 3)
    assert str(full) == "The disk is full. Free some space."
    assert DiskFull("The disk is full.").needed_bytes is None
    assert DamagedDatabase("Broken.", "Rebuild it.").as_json() == {
        "message": "Broken.",
        "remedy": "Rebuild it.",
    }
