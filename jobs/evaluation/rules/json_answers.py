"""Rules about answers that are JSON: does it parse, with the right fields, with the right values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.evaluation import schemas
from jobs.evaluation.rules.examples import SHARE, Examples
from jobs.evaluation.rules.parameters import nothing, quoted, texts_in
from jobs.evaluation.rules.rule import Field, Parameters, Rule, Text, kind
from storage.errors import StudioError

# A field with longer texts that hardly come twice, and that are not in the question, is written and not found.
WORDS_OF_WRITING = 3


def json_value(text: str) -> Any:
    """The JSON that the whole text is, or None; whole numbers become floats, so that 1 equals 1.0."""
    try:
        return json.loads(text, parse_int=_whole, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None


def _whole(digits: str) -> float | int:
    """Numbers that a float cannot tell from their neighbours, such as long order numbers, stay as they are."""
    value = int(digits)
    return float(value) if abs(value) <= 2**53 else value


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object that the whole text is, or None."""
    value = json_value(text)
    return value if isinstance(value, dict) else None


def _valid(parameters: Parameters, text: Text) -> bool:
    return isinstance(json_value(text.answer), list if parameters.get("of") == "list" else dict)


def _same_keys(parameters: Parameters, text: Text) -> bool:
    ours, wanted = json_object(text.answer), json_object(text.reference)
    return ours is not None and wanted is not None and ours.keys() == wanted.keys()


def _values_equal(parameters: Parameters, text: Text) -> bool:
    ours, wanted = json_value(text.answer), json_value(text.reference)
    return isinstance(ours, dict | list) and _plain(ours) == _plain(wanted)


def _fields_equal(parameters: Parameters, text: Text) -> bool:
    ours, wanted = json_object(text.answer), json_object(text.reference)
    if ours is None or wanted is None:
        return False
    return all(
        (name in ours) == (name in wanted) and _plain(ours.get(name)) == _plain(wanted.get(name))
        for name in parameters["fields"]
    )


def _plain(value: Any) -> str:
    """A value as text, whatever the order: to Python, true equals 1."""
    return json.dumps(value, sort_keys=True)


def _checked_valid(parameters: Parameters) -> dict[str, Any]:
    return {"of": "list"} if parameters.get("of") == "list" else {}


def _checked_schema(parameters: Parameters) -> dict[str, Any]:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    schema = parameters.get("schema")
    if not isinstance(schema, Mapping):
        raise StudioError("The JSON schema is not an object.", "Give the schema as an object.")
    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        raise StudioError(f"This is no JSON schema: {error.message}", "Correct the schema.") from None
    return {"schema": dict(schema)}


def _keeps_schema(parameters: Parameters, text: Text) -> bool:
    return schemas.keeps(text.answer, parameters["schema"])


def _described(parameters: Parameters) -> str:
    """The fields that a schema names, with what may be in them."""
    schema = parameters["schema"]
    fields = schema.get("properties")
    if not fields:
        return ""
    always = set(schema.get("required", ()))
    said = [
        f"“{name}” ({_values(inside)}{'' if name in always else ', left out where it does not apply'})"
        for name, inside in fields.items()
    ]
    return f"Use these fields and no others: {', '.join(said)}."


def _values(schema: Mapping[str, Any]) -> str:
    """What may be in a field, in words: “one of “low”, “high””, “text or null”."""
    if choices := schema.get("enum"):
        return f"one of {quoted([str(choice) for choice in choices])}"
    if kinds := schema.get("anyOf"):
        return " or ".join(_values(one) for one in kinds)
    listed = schema.get("type", "anything")
    kinds = sorted([listed] if isinstance(listed, str) else listed, key=lambda one: one == "null")
    names = {"string": "text", "boolean": "true or false", "array": "list", "integer": "whole number"}
    return " or ".join(names.get(one, one) for one in kinds)


# Of answers with more fields, all are counted as one.
MOST_FIELDS = 6

VALID_JSON = kind(
    name="valid_json",
    label="Is valid JSON",
    help="The whole answer is one JSON object, with nothing before or after it.",
    check=_valid,
    words=lambda parameters: "a valid JSON list" if parameters else "valid JSON",
    imperative=lambda parameters: (
        f"Answer with one JSON {parameters.get('of', 'object')} and nothing else: no explanation, no code block."
    ),
    checked=_checked_valid,
    single=True,
)
SAME_KEYS = kind(
    name="same_keys",
    label="Has the fields of the wanted answer",
    help="A JSON object with exactly the fields of the wanted answer.",
    check=_same_keys,
    words=lambda parameters: "the right fields",
    checked=nothing,
    needs_wanted=True,
)
JSON_SCHEMA = kind(
    name="json_schema",
    label="Keeps the JSON schema",
    help="A JSON object with the fields, and the kinds of values, that all your answers have.",
    check=_keeps_schema,
    words=lambda parameters: "fields and values of the right kind",
    imperative=_described,
    checked=_checked_schema,
    single=True,
)
VALUES_EQUAL = kind(
    name="values_equal",
    label="Has the values of the wanted answer",
    help="The JSON of the wanted answer, whatever the order of its fields.",
    check=_values_equal,
    words=lambda parameters: "every value right",
    checked=nothing,
    needs_wanted=True,
)
FIELDS_EQUAL = kind(
    name="fields_equal",
    label="Has the wanted answer's values in some fields",
    help="These fields of a JSON answer are as in the wanted answer; in others it may use other words.",
    check=_fields_equal,
    words=lambda parameters: f"the right {quoted(parameters['fields'], 'and')}",
    parameters=(Field("fields", "Fields, one a line", "lines"),),
    checked=lambda parameters: {"fields": texts_in(parameters, "fields", "Fields")},
    needs_wanted=True,
)


def mined(examples: Examples) -> Iterator[Rule]:
    """The rules for JSON answers; none where the answers are something else."""
    values = [json_value(answer) for answer in examples.answers]
    needed = SHARE * len(values)
    objects = [value for value in values if isinstance(value, dict)]
    if len(objects) >= needed:
        yield VALID_JSON.mined()
        yield SAME_KEYS.mined()
    elif sum(isinstance(value, list) for value in values) >= needed:
        yield VALID_JSON.mined(of="list")
    else:
        return
    schema = schemas.infer(examples.answers)
    if schema and (schema.get("properties") or schema.get("items")):
        yield JSON_SCHEMA.mined(schema=schema)
    found, written = _fields(examples, objects)
    if not written:
        yield VALUES_EQUAL.mined()
    elif len(found) <= MOST_FIELDS:
        # One rule for each, so that it is seen which field is hard.
        yield from (FIELDS_EQUAL.mined(fields=[name]) for name in found)
    else:
        yield FIELDS_EQUAL.mined(fields=found)


def _fields(examples: Examples, objects: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The fields whose values can be found or chosen, and those that the answer words in its own way."""
    texts: dict[str, list[tuple[Any, str]]] = {}
    for prompt, answer in examples.rows:
        for name, value in (json_object(answer) or {}).items():
            texts.setdefault(name, []).append((value, prompt.casefold()))
    written = [name for name, seen in texts.items() if _is_written(seen)]
    return [name for name in texts if name not in written], written


def _is_written(seen: Sequence[tuple[Any, str]]) -> bool:
    said = [(value, prompt) for value, prompt in seen if isinstance(value, str) and value]
    free = sum(
        1
        for value, prompt in said
        if len(value.split()) >= WORDS_OF_WRITING and value.casefold() not in prompt
    )
    different = len({value for value, _ in said})
    return bool(said) and free >= len(said) / 2 and different > len(said) / 2
