"""The schema of answers that are JSON."""

from __future__ import annotations

import json
import re

import pytest

from jobs.evaluation import schemas
from jobs.generation import constrained
from storage.errors import StudioError


def answers(count: int = 12) -> list[str]:
    return [
        json.dumps(
            {
                "name": f"Venue {number}",
                "kind": ("bar", "club", "hall")[number % 3],
                "seats": number * 10,
                "tags": ["loud"] * (number % 3),
                **({"closed": True} if number % 2 else {}),
            }
        )
        for number in range(count)
    ]


def test_the_schema_says_what_all_answers_have_in_common():
    schema = schemas.infer(answers())
    assert list(schema["properties"]) == ["name", "kind", "seats", "tags", "closed"]
    assert schema["required"] == ["kind", "name", "seats", "tags"]
    assert schema["properties"]["seats"] == {"type": "integer"}
    assert schema["properties"]["tags"] == {"type": "array", "items": {"type": "string", "enum": ["loud"]}}
    assert schema["additionalProperties"] is False


def test_every_answer_it_was_made_of_keeps_it():
    schema = schemas.infer(answers())
    assert all(schemas.keeps(answer, schema) for answer in answers())


@pytest.mark.parametrize(
    "change, named",
    [
        ({"seats": "many"}, r"\$\.seats"),
        ({"kind": "disco"}, r"\$\.kind"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_answer_of_another_form_is_told_with_its_place(change, named):
    schema = schemas.infer(answers())
    wrong = json.dumps({**json.loads(answers()[0]), **change})
    (said,) = schemas.errors(wrong, schema)
    assert re.search(named, said)


def test_a_missing_field_and_no_json_at_all_are_told():
    schema = schemas.infer(answers())
    assert any("name" in said for said in schemas.errors("{}", schema))
    assert schemas.errors('{"name": ', schema) == ["This is not JSON."]
    assert schemas.errors("[" * 100_000, schema) == ["This is not JSON."]


def test_texts_that_come_once_are_no_choice_of_a_few():
    schema = schemas.infer([json.dumps({"a": text}) for text in ("x", "x", "x", "y")])
    assert schema["properties"]["a"] == {"type": "string"}
    schema = schemas.infer([json.dumps({"a": text}) for text in ("x", "x", "x", "y", "y", "y")])
    assert schema["properties"]["a"] == {"type": "string", "enum": ["x", "y"]}
    for count, is_choice in ((schemas.MOST_CHOICES, True), (schemas.MOST_CHOICES + 1, False)):
        schema = schemas.infer([json.dumps({"a": f"town {number}"}) for number in range(count)] * 3)
        assert ("enum" in schema["properties"]["a"]) is is_choice


@pytest.mark.parametrize(
    "texts", [[], ["Hello."], ["42", "43"], ['"a"', '"b"'], ["null"], ['{"a": 1}'] * 8 + ["no"] * 2]
)
def test_answers_that_are_not_json_have_no_schema(texts):
    assert schemas.infer(texts) is None


def test_what_is_too_deep_to_be_read_is_no_json():
    assert schemas.infer(["[" * 100_000]) is None


def test_one_in_ten_may_be_broken():
    assert schemas.infer(['{"a": 1}'] * 9 + ["{"])["properties"] == {"a": {"type": "integer"}}


def test_lists_and_objects_side_by_side_both_keep_their_form():
    schema = schemas.infer(['{"a": 1}', "[1, 2]"] * 5)
    assert schemas.keeps('{"a": 3}', schema) and schemas.keeps("[7]", schema)
    assert not schemas.keeps('{"b": 3}', schema) and not schemas.keeps('["x"]', schema)
    words = schemas.infer(['{"a": "yes"}', '["no"]'] * 5)
    assert not schemas.keeps('{"a": "no"}', words) and not schemas.keeps('["yes"]', words)


def test_very_many_fields_are_data_and_no_form():
    schema = schemas.infer([json.dumps({f"word {n}": n, f"word {n + 1}": n}) for n in range(100)])
    assert schema == {"type": "object"}


def test_very_deep_answers_are_data_and_no_form():
    assert schemas.infer(['{"a":' * 20 + "1" + "}" * 20] * 3) is not None
    assert schemas.infer(['{"a":' * 130 + "1" + "}" * 130] * 3) is None
    assert schemas.infer(['{"a":' * 900 + "1" + "}" * 900] * 3) is None


def wide() -> str:
    """Three levels of many fields each: more than one grammar may have."""
    inner = {f"h{number}": number for number in range(60)}
    return json.dumps({f"f{n}": {f"g{m}": inner for m in range(20)} for n in range(20)})


@pytest.mark.parametrize(
    "answer", [wide(), '{"\\ud83d": 1}', '{"a": "\\ud83d"}'], ids=["too large", "key", "text"]
)
def test_a_schema_that_no_answer_can_be_held_to_is_refused_in_words(answer):
    schema = schemas.infer([answer] * 5)
    with pytest.raises(StudioError, match="cannot be held to this JSON schema"):
        constrained.check(schema)
    constrained.check(schemas.infer(answers()))
