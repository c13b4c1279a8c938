"""A record becomes the conversation it holds, or a reason with what could be read of it."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.datasets.conversations import Unusable, example_of
from jobs.datasets.records import Record

MAPPING = {"messages": "messages"}


def messages(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def texts(value: Any, mapping: dict[str, str] | None = None) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in example_of(Record(1, value), mapping or MAPPING).messages]


def refused(value: Any, mapping: dict[str, str] | None = None) -> Unusable:
    with pytest.raises(Unusable) as caught:
        example_of(Record(1, value), mapping or MAPPING)
    return caught.value


def test_openais_format_is_taken_as_it_is() -> None:
    value = messages(
        ("developer", "Be kind."),
        ("user", [{"type": "text", "text": "Is it "}, {"type": "text", "text": "late?"}]),
        ("assistant", "No."),
        ("user", "Sure?"),
        ("assistant", "Yes."),
        tools=[{"type": "function", "function": {"name": "f"}}],
        parallel_tool_calls=False,
    )
    value["messages"][2].update(weight=1, name="shop")
    assert texts(value) == [
        ("system", "Be kind."),
        ("user", "Is it late?"),
        ("assistant", "No."),
        ("user", "Sure?"),
        ("assistant", "Yes."),
    ]


def test_sharegpts_format_and_messages_as_text_are_taken() -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    assert texts({"messages": turns}) == [("user", "a"), ("assistant", "b")]
    assert texts(
        {"messages": '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'}
    ) == [
        ("user", "a"),
        ("assistant", "b"),
    ]


CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}],
}
UNWEIGHED = {"role": "assistant", "content": "b", "weight": 0}


@pytest.mark.parametrize(
    ("turns", "code", "reason"),
    [
        ([{"role": "user", "content": "a"}, CALL], "tool_call", "message 2 calls a tool"),
        ([{"role": "user", "content": "a"}, UNWEIGHED], "weight", "message 2 has the weight 0"),
        (
            [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}],
            "unknown_role",
            "message 2 has the role 'tool'",
        ),
        ([{"content": "a"}], "unknown_role", "message 1 has no role"),
        (
            [{"role": "user", "content": [{"type": "image_url"}]}],
            "not_text",
            "message 1 has a part that is not text",
        ),
        ([{"role": "user", "content": b"a"}], "not_text", "message 1 holds bytes"),
        (["a"], "bad_messages", "message 1 is text"),
        ([], "bad_messages", "an empty list"),
        ("[{", "bad_messages", "text that is not JSON"),
        (7, "bad_messages", "a number"),
    ],
)
def test_what_cannot_be_learned_is_left_out_with_its_reason(turns: Any, code: str, reason: str) -> None:
    found = refused({"messages": turns})
    assert found.code == code and reason in found.reason


def test_what_could_be_read_of_a_row_comes_with_the_reason() -> None:
    user = {"role": "user", "content": "a"}
    assert refused({"messages": [user, CALL]}).messages == [user]
    assert refused(messages(("user", "a"), ("assistant", " "))).messages[0] == user
    assert len(refused(messages(("user", "a"), ("user", "b"), ("assistant", "c"))).messages) == 3


@pytest.mark.parametrize("empty", [None, "", " \n\t", "\u200b\ufeff\u2060", "\u00a0\u3000"])
def test_a_text_that_shows_nothing_is_empty(empty: str | None) -> None:
    columns = {"prompt": "p", "response": "r"}
    assert refused({"p": "a", "r": empty}, columns).code == "empty_answer"
    assert refused({"p": empty, "r": "a"}, columns).code == "empty_prompt"
    assert texts({"p": "a", "r": "b", "s": empty}, {**columns, "system": "s"}) == [
        ("user", "a"),
        ("assistant", "b"),
    ]


def test_a_question_never_becomes_the_system_prompt() -> None:
    value = {"question": "Where?", "answer": "Here."}
    assert texts(value, {"prompt": "question", "response": "answer"})[0] == ("user", "Where?")
    assert refused(messages(("system", "Where?"), ("assistant", "Here."))).code == "role_order"


def test_a_failed_row_never_becomes_blank_text() -> None:
    columns = {"prompt": "p", "response": "r"}
    for value in (
        {"q": "other columns"},
        {"p": "a"},
        {"p": "a", "r": float("nan")},
        "text",
        None,
        ["a", "b"],
    ):
        refused(value, columns)


def test_line_ends_are_plain_and_other_values_are_json() -> None:
    columns = {"prompt": "p", "response": "r"}
    assert texts({"p": "a\r\nb\rc", "r": {"é": [1, None]}}, columns) == [
        ("user", "a\nb\nc"),
        ("assistant", '{"é": [1, null]}'),
    ]
