"""Which column plays which part: told by name, guessed with a word, and never a question as the system prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.datasets.records import ReadOptions
from storage.errors import StudioError
from tests.jobs.datasets.opened import Opened, opened

ASKED, ANSWERED = "Where is my parcel?", "It is on its way."


def of(folder: Path, *rows: dict[str, Any]) -> Opened:
    return opened(folder, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows * 3))


def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


SHAPES: dict[str, tuple[dict[str, Any], dict[str, str], bool]] = {
    "prompt and completion": (
        {"prompt": ASKED, "completion": ANSWERED},
        {"prompt": "prompt", "response": "completion"},
        True,
    ),
    "Alpaca": (
        {"instruction": ASKED, "input": "", "output": ANSWERED, "system": "You are kind."},
        {"prompt": "instruction", "input": "input", "response": "output", "system": "system"},
        True,
    ),
    "Dolly": (
        {"instruction": ASKED, "context": "", "response": ANSWERED, "category": "open_qa"},
        {"prompt": "instruction", "response": "response"},
        True,
    ),
    "words in longer names": (
        {"the customer's question": ASKED, "our reply": ANSWERED, "answer id": "a b"},
        {"prompt": "the customer's question", "response": "our reply"},
        False,
    ),
    "names of other languages": (
        {"Frage": ASKED, "Antwort": ANSWERED, "Notiz": "Noch ein Text."},
        {"prompt": "Frage", "response": "Antwort"},
        False,
    ),
    "two that could be asked": (
        {"question": ASKED, "problem": "Another text here.", "answer": ANSWERED},
        {"prompt": "question", "response": "answer"},
        False,
    ),
    "two that could be answers": (
        {"question": ASKED, "answer": ANSWERED, "solution": "Another text."},
        {"prompt": "question", "response": "answer"},
        False,
    ),
    "a user's name": (
        {"user": "anna_92", "text": ASKED, "reply": ANSWERED},
        {"prompt": "text", "response": "reply"},
        False,
    ),
    "a system that is a product": (
        {"system": "Windows", "question": ASKED, "answer": ANSWERED},
        {"prompt": "question", "response": "answer"},
        True,
    ),
    "a system that is asked": (
        {"system": ASKED, "question": ASKED, "answer": ANSWERED},
        {"prompt": "question", "response": "answer"},
        True,
    ),
    "chosen and rejected": (
        {"prompt": ASKED, "chosen": ANSWERED, "rejected": "Go away."},
        {"prompt": "prompt", "response": "chosen"},
        True,
    ),
    "turns in a text": (
        {"text": f"### Human: {ASKED}### Assistant: {ANSWERED}"},
        {"text": "text"},
        True,
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_understood(shape: str, tmp_path: Path) -> None:
    row, mapping, certain = SHAPES[shape]
    found = of(tmp_path, row)
    assert (found.mapping, found.certain) == (mapping, certain)
    assert found.pairs == [(ASKED, ANSWERED)] * 3


CHOSEN = said(("user", ASKED), ("assistant", ANSWERED))
MESSAGES: dict[str, dict[str, Any]] = {
    "OpenAI's preferences": {
        "input": {"messages": CHOSEN[:1]},
        "preferred_output": CHOSEN[1:],
        "non_preferred_output": [],
    },
    "chosen conversations": {"chosen": CHOSEN, "rejected": []},
    "a prompt and chosen conversations": {"prompt": ASKED, "chosen": CHOSEN, "rejected": []},
    "a prompt and chosen answers": {"prompt": CHOSEN[:1], "chosen": CHOSEN[1:], "rejected": []},
    "Gemini's contents": {
        "contents": [
            {"role": "user", "parts": [{"text": ASKED}]},
            {"role": "model", "parts": [{"text": ANSWERED}]},
        ]
    },
    "chosen texts": {"chosen": f"\n\nHuman: {ASKED}\n\nAssistant: {ANSWERED}", "rejected": "\n\nHuman: x"},
}


@pytest.mark.parametrize("shape", MESSAGES)
def test_conversations_in_other_shapes_are_understood(shape: str, tmp_path: Path) -> None:
    found = of(tmp_path, MESSAGES[shape])
    assert found.pairs == [(ASKED, ANSWERED)] * 3
    assert ("the rejected one is not used" in found.notes) == ("Gemini" not in shape)


def test_context_goes_below_the_question_and_is_a_guess(tmp_path: Path) -> None:
    found = of(tmp_path, {"context": "The shop is in Bern.", "question": ASKED, "answer": ANSWERED})
    assert found.pairs[0][0] == f"{ASKED}\n\nThe shop is in Bern." and not found.certain


def test_history_comes_before_the_prompt(tmp_path: Path) -> None:
    found = of(tmp_path, {"instruction": ASKED, "output": ANSWERED, "history": [["Hi", "Hello"]]})
    assert [m["content"] for m in found.messages[0]] == ["Hi", "Hello", ASKED, ANSWERED]


def test_what_cannot_be_told_is_asked_and_reading_it_raises_the_sentence(tmp_path: Path) -> None:
    found = of(tmp_path, {"eins": "a b", "zwei": "c d", "drei": "e f"})
    assert (found.mapping, found.certain) == ({}, False)
    assert found.why is not None and "“eins”, “zwei”, “drei”" in found.why.message
    assert "“prompt”" in found.why.remedy


def test_columns_that_are_not_used_are_said(tmp_path: Path) -> None:
    found = of(tmp_path, {"id": 7, "prompt": ASKED, "response": ANSWERED, "note": "x"})
    assert "Not used: “id”, “note”." in found.notes


@pytest.mark.parametrize(
    "options",
    [
        7,
        {"colour": "red"},
        {"encoding": 7},
        {"mapping": ["prompt"]},
        {"mapping": {"prom": "x"}},
        {"has_header": "no"},
    ],
)
def test_wrong_options_are_refused(options: Any) -> None:
    with pytest.raises(StudioError) as caught:
        ReadOptions.from_json(options)
    assert caught.value.remedy


def test_options_survive_being_written_down() -> None:
    options = ReadOptions(
        delimiter=";", has_header=False, mapping={"prompt": "a", "response": "b", "system": None}
    )
    assert ReadOptions.from_json(json.loads(json.dumps(options.as_json()))) == options
