"""The JSON schema of a dataset's answers: what they have in common, and whether an answer keeps to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jobs.datasets import rows
from jobs.datasets.row_view import RowView

Schema = dict[str, Any]

# Answers are JSON when nearly all of them are.
SHARE = 0.9
# So many answers, from all over the examples, tell the form of a million too.
MOST_ANSWERS = 2_000
# With more fields than this they are data, such as the words of a dictionary, and no form.
MOST_FIELDS = 64
# What is nested more deeply is data too, and more than validators can walk through.
DEEPEST = 32
# A few words that come again and again are the only ones there are.
MOST_CHOICES, LEAST_OFTEN = 12, 3


def of(dataset_id: str) -> Schema | None:
    """The schema of the dataset's training answers; None when they are not JSON.

    Raises: StudioError when the rows are gone.
    """
    return _of(rows.opened(dataset_id), dataset_id)


@lru_cache(maxsize=16)
def _of(_view: RowView, dataset_id: str) -> Schema | None:
    """Kept, because it takes a while; the view stands for the very rows."""
    training = rows.some_rows(dataset_id, "train", MOST_ANSWERS)
    return infer([_answer_of(row["messages"]) for row in training])


def infer(answers: Sequence[str]) -> Schema | None:
    """The narrowest plain schema that the answers keep; None when they are not JSON objects or lists."""
    from genson import SchemaBuilder

    values = [value for value in map(_parsed, answers) if isinstance(value, (dict, list))]
    if (
        not values
        or len(values) < SHARE * len(answers)
        or any(_is_deeper(value, DEEPEST) for value in values)
    ):
        return None
    builder = SchemaBuilder(schema_uri=None)
    for value in values:
        builder.add_object(value)
    return _narrowed(builder.to_schema(), values)


def errors(answer: str, schema: Schema) -> list[str]:
    """What is wrong with an answer by the schema, in words and with its place; nothing when it keeps to it."""
    from jsonschema import Draft202012Validator

    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return ["This is not JSON."]
    found = Draft202012Validator(schema).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


def keeps(answer: str, schema: Schema) -> bool:
    """Whether an answer is JSON of this schema."""
    return not errors(answer, schema)


def _answer_of(messages: Sequence[Mapping[str, str]]) -> str:
    """The row's last answer, which is the one that is learned."""
    return next(turn["content"] for turn in reversed(messages) if turn["role"] == "assistant")


def _parsed(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested in more than so many levels."""
    if not isinstance(value, (dict, list)):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inside)


def _narrowed(schema: Schema, values: Sequence[Any]) -> Schema:
    """genson's schema without fields that never were, and with the words that a text chooses from."""
    if "anyOf" in schema:
        return {"anyOf": [_narrowed(one, values) for one in schema["anyOf"]]}
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        if len(fields) > MOST_FIELDS:
            return {"type": "object"}
        objects = [value for value in values if isinstance(value, dict)]
        narrowed = {
            name: _narrowed(kind, [one[name] for one in objects if name in one])
            for name, kind in fields.items()
        }
        return {**schema, "properties": narrowed, "additionalProperties": False}
    if schema.get("type") == "array" and "items" in schema:
        inside = [item for value in values if isinstance(value, list) for item in value]
        return {**schema, "items": _narrowed(schema["items"], inside)}
    if schema.get("type") == "string" and (choices := _choices(values)):
        return {**schema, "enum": choices}
    return schema


def _choices(values: Sequence[Any]) -> list[str]:
    """The few texts that are all there are; none where another one would be no surprise.

    One that was seen once or twice says that there are unseen ones (Good 1953, on the share of unseen species).
    """
    counts = Counter(value for value in values if isinstance(value, str))
    if len(counts) > MOST_CHOICES or min(counts.values(), default=0) < LEAST_OFTEN:
        return []
    return sorted(counts)
