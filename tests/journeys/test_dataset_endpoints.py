"""What programs do with examples: bring them in every way, repair, edit, go back, through gradio_client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

LINES = "a;b\n" + "".join(f"Where is parcel {n}?;It comes within {n % 4 + 1} days.\n" for n in range(40))
MAPPING = {"mapping": {"prompt": "a", "response": "b"}}
ASKED = [{"role": "user", "content": "Is it new?"}, {"role": "assistant", "content": "It is new."}]


@pytest.fixture
def file(tmp_path: Path) -> Any:
    path = tmp_path / "mails.csv"
    path.write_text(LINES + "Nothing is answered here;\n" + "Where is parcel 3?;It comes within 4 days.\n")
    return handle_file(str(path))


@pytest.fixture
def added(client: Client, file: Any) -> dict[str, Any]:
    return client.predict(file, "Mails", MAPPING, api_name="/import_file")  # type: ignore[no-any-return]


def test_a_file_is_looked_at_before_it_is_imported(client: Client, file: Any) -> None:
    seen = client.predict(file, MAPPING, api_name="/inspect_file")
    assert seen["detected"]["Delimiter"] == "semicolon" and seen["columns"] == ["a", "b"]
    assert [turn["content"] for turn in seen["rows"][0]["messages"]] == [
        "Where is parcel 0?",
        "It comes within 1 days.",
    ]


def test_a_wrong_option_is_refused_in_words(client: Client, file: Any) -> None:
    with pytest.raises(AppError, match="delimeter"):
        client.predict(file, "Mails", {"delimeter": ";"}, api_name="/import_file")


def test_text_and_rows_become_examples(client: Client) -> None:
    text = client.predict("prompt,response\na b,c d\ne f,g h\n", api_name="/add_text")
    rows = client.predict([["a b", "c d"], {"messages": ASKED}], "Typed", api_name="/add_rows")
    assert (text["rows"], rows["rows"], rows["name"]) == (2, 2, "Typed")
    with pytest.raises(AppError, match="Row 2"):
        client.predict([["a", "b"], ["c"]], api_name="/add_rows")


def test_rows_are_searched_and_filtered_page_by_page(client: Client, added: dict[str, Any]) -> None:
    id = added["dataset_id"]
    page = client.predict(id, 10, 5, api_name="/rows")
    assert ([row["row"] for row in page["rows"]], page["total"]) == ([11, 12, 13, 14, 15], 42)
    assert client.predict(id, 0, 5, "PARCEL 17?", api_name="/rows")["total"] == 1
    left_out = client.predict(id, 0, 5, "", "empty_answer", "left_out", api_name="/rows")
    assert [row["row"] for row in left_out["rows"]] == [41]


def test_every_change_is_a_version_and_can_be_taken_back(client: Client, added: dict[str, Any]) -> None:
    first = added["dataset_id"]
    fixed = client.predict(first, api_name="/fix")
    assert (fixed["version"], fixed["parent_id"], fixed["left_out_rows"]) == (2, first, 0)
    train = client.predict(first, 0, 1, "", "", "train", api_name="/rows")["rows"][0]["row"]
    edited = client.predict(fixed["dataset_id"], train, ASKED, api_name="/edit_row")
    difference = client.predict(fixed["dataset_id"], edited["dataset_id"], api_name="/diff")
    assert [one["row"] for one in difference["changed"]] == [train]
    assert client.predict(edited["dataset_id"], train, api_name="/row")["messages"] == ASKED
    assert client.predict(edited["dataset_id"], api_name="/undo")["dataset_id"] == fixed["dataset_id"]
    assert client.predict(fixed["dataset_id"], api_name="/redo")["dataset_id"] == edited["dataset_id"]
    assert [one["version"] for one in client.predict(first, api_name="/versions")] == [3, 2, 1]
    assert client.predict(first, api_name="/go_to_version")["is_current"]


def test_a_corrected_answer_is_learned_from_and_never_tested_on(
    client: Client, added: dict[str, Any]
) -> None:
    id = added["dataset_id"]
    corrected = client.predict(id, ASKED, api_name="/add_corrected")
    assert corrected["train_rows"] == added["train_rows"] + 1
    assert corrected["held_out_rows"] == added["held_out_rows"]
    held_out = client.predict(id, 0, 1, "", "", "held_out", api_name="/rows")["rows"][0]["messages"]
    with pytest.raises(AppError, match="kept aside"):
        client.predict(id, [held_out[0], ASKED[1]], api_name="/add_corrected")


def test_a_row_that_is_kept_aside_cannot_be_edited(client: Client, added: dict[str, Any]) -> None:
    id = added["dataset_id"]
    row = client.predict(id, 0, 1, "", "", "held_out", api_name="/rows")["rows"][0]["row"]
    with pytest.raises(AppError, match="kept aside"):
        client.predict(id, row, ASKED, api_name="/edit_row")
