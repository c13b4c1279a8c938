"""Questions and answers are found in plain text by their marks, and nobody's words go to the wrong side."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.datasets.formats.turns import turns_of
from tests.jobs.datasets.opened import opened

PAIRS = [("Where is it?", "It is here.\n\nReally: it is."), ("Who are you?", "- me\n- and you")]
MARKED = {
    "letters": "Q: {}\nA: {}\n\n",
    "words": "Question: {}\nAnswer: {}\n",
    "users": "User: {}\n\nAssistant: {}\n\n",
    "German": "Frage: {}\nAntwort: {}\n\n",
    "bold": "**Question:** {}\n\n**Answer:** {}\n\n",
    "numbered": "1. Q: {}\nA: {}\n",
    "headings": "## Question\n\n{}\n\n## Answer\n\n{}\n\n",
    "headings with colons": "### Instruction:\n{}\n\n### Response:\n{}\n\n",
    "headings that ask": "## {}\n\n{}\n\n",
    "Chinese": "问：{}\n答：{}\n",
}


@pytest.mark.parametrize("marks", MARKED)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_of_every_kind(marks: str, end: str, tmp_path: Path) -> None:
    text = "".join(MARKED[marks].format(q, a) for q, a in PAIRS).replace("\n", end)
    found = opened(tmp_path, "a.md", text.encode())
    assert (found.pairs, found.format) == (PAIRS, "text")
    assert found.detected["Marks"]


def test_a_question_without_answer_and_an_answer_without_question_are_left_out(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.txt", "A: Yes.\nQ: One?\nA: Two.\nQ: Three?\nQ: Four?\nA: Five.\n")
    assert found.codes() == {1: "empty_prompt", 3: "empty_answer"}
    assert found.pairs == [("One?", "Two."), ("Four?", "Five.")]


def test_what_stands_above_the_first_question_is_said(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.txt", "Our shop\n\nQ: One?\nA: Two.\n")
    assert "“Our shop”" in found.notes and found.pairs == [("One?", "Two.")]


def test_dividing_lines_make_conversations_of_several_turns(tmp_path: Path) -> None:
    text = "System: Be kind.\nUser: a\nAssistant: b\nUser: c\nAssistant: d\n---\nUser: e\nAssistant: f\n"
    found = opened(tmp_path, "a.txt", text)
    assert [[m["role"] for m in one] for one in found.messages] == [
        ["system", "user", "assistant", "user", "assistant"],
        ["user", "assistant"],
    ]


CHAT = "".join(
    f"[12.03.24, 14:05:{n:02}] {name}: {text}\n"
    for n, (name, text) in enumerate(
        [("Ann", "Hi"), ("Ben", "Hello"), ("Ben", "How are you"), ("Ann", "Good"), ("Ben", "Fine")]
    )
)


@pytest.mark.parametrize("stamp", ["[12.03.24, 14:05:11] ", "12/03/2024, 2:05 PM - ", ""])
def test_a_chat_of_two_is_asked_about(stamp: str, tmp_path: Path) -> None:
    lines = [line.split("] ", 1)[1] for line in CHAT.splitlines()]
    found = opened(tmp_path, "a.txt", "".join(f"{stamp}{line}\n" for line in lines))
    assert (found.mapping, found.certain) == ({"prompt": "Ann", "response": "Ben"}, False)
    assert found.pairs == [("Hi", "Hello\nHow are you"), ("Good", "Fine")]
    assert "“Ben” is taken for the one who answers" in found.notes


def test_who_answers_in_a_chat_can_be_chosen(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.txt", CHAT, mapping={"prompt": "Ben", "response": "Ann"})
    assert found.pairs == [("Hello\nHow are you", "Good")] and found.codes() == {2: "empty_answer"}


def test_headings_that_ask_are_a_guess(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.md", "# Shop\n\n## Open?\nYes.\n### When\nAt ten.\n\n## Far?\nNo.\n")
    assert found.pairs == [("Open?", "Yes.\n### When\nAt ten."), ("Far?", "No.")] and not found.certain


def test_a_table_whose_cells_hold_marks_stays_a_table(tmp_path: Path) -> None:
    rows = "".join(f'"Sum up:\nQ: one\nA: {n}",x\n' for n in range(3))
    assert opened(tmp_path, "a.csv", f"one,two\n{rows}").format == "csv"
    assert opened(tmp_path, "pasted.txt", f"prompt,response\n{rows}").format == "csv"


TURNS = [("user", "hi"), ("assistant", "ho"), ("user", "and?"), ("assistant", "yes")]
WRITTEN = {
    "hashes": "### Human: hi### Assistant: ho### Human: and?### Assistant: yes",
    "ChatML": "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in TURNS),
    "Llama 2": "<s>[INST] hi [/INST] ho </s><s>[INST] and? [/INST] yes </s>",
    "Llama 3": "<|begin_of_text|>"
    + "".join(f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>" for role, text in TURNS),
    "Gemma": "".join(
        f"<start_of_turn>{role.replace('assistant', 'model')}\n{text}<end_of_turn>\n" for role, text in TURNS
    ),
    "bars": "".join(f"<|{role}|>\n{text}</s>\n" for role, text in TURNS),
    "lines": "\n\nHuman: hi\n\nAssistant: ho\n\nHuman: and?\n\nAssistant: yes",
}


@pytest.mark.parametrize("template", WRITTEN)
def test_turns_written_into_one_text(template: str, tmp_path: Path) -> None:
    assert [(m["role"], m["content"]) for m in turns_of(WRITTEN[template])] == TURNS


def test_alpacas_template_keeps_the_input_below_the_instruction() -> None:
    text = "Below is an instruction.\n\n### Instruction:\nSum up.\n\n### Input:\nA text.\n\n### Response:\nShort."
    assert [(m["role"], m["content"]) for m in turns_of(text)] == [
        ("system", "Below is an instruction."),
        ("user", "Sum up.\n\nA text."),
        ("assistant", "Short."),
    ]


def test_a_text_without_marks_has_no_turns() -> None:
    assert turns_of("Dear all: this is prose.") == [] and turns_of("Q: one? Q: two?") == []
