"""Which rows are asked, and how long their answers may be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.evaluation import held_out
from jobs.evaluation.held_out import HeldOutRow, answer_lengths, rows_of, that_fit
from jobs.generation.chat import ChatFormat
from storage import files
from storage.errors import StudioError
from tests.jobs.serving.parts import DATASET_ID, HELD_OUT_ROWS, SYSTEM, TRAIN_ROWS, add_dataset


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_rows_are_spread_over_all_of_a_split_and_no_other(home: Path) -> None:
    add_dataset()
    first = TRAIN_ROWS + 1
    assert [row.row for row in rows_of(DATASET_ID, "held_out", 5)] == list(range(first, first + 10, 2))
    assert [row.row for row in rows_of(DATASET_ID, "held_out", 99)] == list(range(first, first + 10))
    assert len(rows_of(DATASET_ID, "train", 99)) == TRAIN_ROWS
    assert rows_of(DATASET_ID, "left_out", 5) == rows_of(DATASET_ID, "held_out", 0) == []
    row = rows_of(DATASET_ID, "held_out", HELD_OUT_ROWS)[2]
    assert row.messages == [turn("system", SYSTEM), turn("user", f"Row {first + 2}?")]
    assert (row.prompt, row.reference) == (f"Row {first + 2}?", json.dumps({"n": first + 2}))
    with pytest.raises(StudioError):
        rows_of("gnnn2222", "held_out", 5)


def test_an_answer_to_nothing_is_not_asked_for(home: Path) -> None:
    add_dataset()
    file = files.dataset_folder(DATASET_ID) / "rows.jsonl"
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    kept[-1]["messages"] = [turn("assistant", "1")]
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    assert len(rows_of(DATASET_ID, "held_out", 99)) == HELD_OUT_ROWS - 1


def test_of_a_conversation_its_last_answer_is_wanted() -> None:
    turns = [turn("user", "A?"), turn("assistant", "1"), turn("user", "B?"), turn("assistant", "2")]
    row = HeldOutRow.of({"row": 7, "messages": [*turns, turn("user", "Thanks.")]})
    assert (row.row, row.messages, row.prompt, row.reference) == (7, turns[:3], "B?", "2")


def asked(prompt: str, answer: str, number: int = 1) -> HeldOutRow:
    return HeldOutRow(number, [turn("user", prompt)], answer)


def needs(chat: ChatFormat, text: str) -> int:
    return len(chat.prompt_ids([turn("user", text)]))


def test_every_answer_may_have_what_nine_tenths_need_and_something_more(tiny_model: Path) -> None:
    chat = ChatFormat.load(tiny_model)
    texts = ["x" * 10] * 18 + ["x" * 200, "x" * 400]
    lengths = answer_lengths(tiny_model, [asked("?", text) for text in texts])
    short, long, longer = (needs(chat, text) for text in (texts[0], *texts[18:]))
    usual = short * 5 // 4 + 16
    assert lengths == [usual] * 18 + [long * 5 // 4 + 16, longer * 5 // 4 + 16]
    assert answer_lengths(tiny_model, [asked("?", text) for text in texts[16:]])[0] == long * 5 // 4 + 16
    assert answer_lengths(tiny_model, []) == []


def test_a_row_fits_if_its_wanted_answer_does_to_the_last_token(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = ChatFormat.load(tiny_model)
    row, before = asked("Where?", "x" * 60), [turn("system", "Be short.")]
    whole = len(chat.prompt_ids([*before, *row.messages])) + needs(chat, row.reference)
    limit: dict[str, Any] = {}
    monkeypatch.setattr(held_out.weights, "read_config", lambda folder: limit)
    assert that_fit(tiny_model, [row], before) == [row], "a model that names no limit"
    limit["max_position_embeddings"] = whole
    assert that_fit(tiny_model, [row], before) == [row]
    limit["max_position_embeddings"] = whole - 1
    assert that_fit(tiny_model, [row], before) == [] and that_fit(tiny_model, [row], []) == [row]


def test_without_room_for_a_few_words_a_row_does_not_fit(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    row = asked("Where?", "")
    tokens = len(ChatFormat.load(folder).prompt_ids(row.messages)) + 16
    for limit, fits in ((tokens, True), (tokens - 1, False)):
        settings = json.loads((tiny_model / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": limit}))
        assert (that_fit(folder, [row], []) == [row]) is fits
