"""JSON as people, scripts and power cuts leave it."""

from __future__ import annotations

import json

from tests.jobs.datasets.hostile.cases import Case, Refused, Taken, jsonl, pieces, records

_THREE = jsonl(*records(3))
_FIVE = jsonl(*records(5))
_ARRAY = json.dumps(records(4), indent=1).encode()


def _row(response: bytes) -> bytes:
    return b'{"prompt": "What now?", "response": ' + response + b"}\n"


def _in_array(response: bytes) -> bytes:
    return b"[" + b",".join(line for line in _THREE.split(b"\n") if line) + b",\n" + _row(response) + b"]"


def _deep(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


CASES = [
    Case("an array", "a.json", _ARRAY, Taken(4)),
    Case(
        "a list inside an object",
        "a.json",
        json.dumps({"version": "1", "data": records(4)}).encode(),
        Taken(4),
    ),
    Case("objects one after the other", "a.json", _FIVE.replace(b"\n", b""), Taken(5)),
    Case(
        "indented objects one after the other",
        "a.json",
        b"\n".join(json.dumps(row, indent=2).encode() for row in records(4)),
        Taken(4),
    ),
    Case("lines that end in commas", "a.jsonl", _FIVE.replace(b"}\n", b"},\n"), Taken(5)),
    Case(
        "record separators",
        "a.jsonl",
        b"".join(b"\x1e" + line + b"\n" for line in _THREE.splitlines()),
        Taken(3),
    ),
    Case(
        "a byte order mark on every line",
        "a.jsonl",
        b"".join(b"\xef\xbb\xbf" + line + b"\n" for line in _THREE.splitlines()),
        Taken(3),
    ),
    Case(
        "an array with a comma too many",
        "a.json",
        _ARRAY[:-2] + b",\n]",
        Refused(r"line \d+, column \d+", "[Cc]orrect"),
    ),
    Case(
        "an array cut off",
        "a.json",
        b'[\n{"prompt": "a", "response": "b"},\n{"prompt": "c", "resp',
        Refused(r"line 3, column \d+", "[Cc]orrect"),
    ),
    Case(
        "a comment in an array",
        "a.json",
        b"[\n// mine\n" + b",\n".join(_THREE.splitlines()) + b"]",
        Refused("line 2, column 1"),
    ),
    Case(
        "a broken line among good ones",
        "a.jsonl",
        _THREE + b'{"prompt": "x", \n',
        Taken(3, {"broken_json": [4]}),
    ),
    Case("the last line cut off", "a.jsonl", _FIVE[:-25], Taken(4, {"broken_json": [5]})),
    Case(
        "all lines broken", "a.jsonl", b'{"prompt": oops}\n{"prompt": oops}\n', Refused("line 1, column 12")
    ),
    Case(
        "Python instead of JSON",
        "a.jsonl",
        b"{'prompt': 'a', 'response': 'b'}\n" * 3,
        Refused("line 1, column 2"),
    ),
    Case("blank lines", "a.jsonl", _THREE.replace(b"\n", b"\n\n  \n"), Taken(3)),
    Case("an empty array", "a.json", b"[]", Refused("empty list", "list|object")),
    Case("an empty object", "a.json", b"{}", Refused("no columns|no rows|column")),
    Case("a number", "a.json", b"12", Refused("column|rows|JSON")),
    Case("a text", "a.json", b'"hello"', Refused("column|rows|JSON")),
    Case("null", "a.json", b"null", Refused("column|rows|JSON")),
    Case("an array of numbers", "a.json", b"[1, 2, 3]", Refused("column|number")),
    Case("an array of texts", "a.json", b'["a", "b", "c"]', Refused("column|text")),
    Case("an array of arrays", "a.json", b'[["a", "b"], ["c", "d"]]', Refused("column|list")),
    Case("a number among the rows", "a.jsonl", _THREE + b"7\n", Taken(3, {"not_an_object": [4]})),
    Case(
        "single messages",
        "a.json",
        b'[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]',
        Refused("single messages", "list"),
    ),
    Case("an array nested 5,000 deep", "a.json", _deep(5_000), Refused("nested")),
    Case("an array opened 200,000 times", "a.json", b"[" * 200_000, Refused("nested|line 1, column")),
    Case("objects opened 200,000 times", "a.json", b'{"a":' * 200_000, Refused("nested|line 1, column")),
    Case("a row nested 5,000 deep", "a.jsonl", _THREE + _row(_deep(5_000)), Taken(3, {"broken_json": [4]})),
    Case("a row nested 100 deep", "a.jsonl", _THREE + _row(_deep(100)), Taken(3, {"broken_json": [4]})),
    Case("an element nested 5,000 deep", "a.json", _in_array(_deep(5_000)), Taken(3, {"broken_json": [4]})),
    Case("not a number", "a.jsonl", _THREE + _row(b"NaN"), Taken(3, {"broken_json": [4]})),
    Case("infinity", "a.jsonl", _THREE + _row(b"-Infinity"), Taken(3, {"broken_json": [4]})),
    Case("a number beyond all", "a.jsonl", _THREE + _row(b"[1e999]"), Taken(3, {"not_text": [4]})),
    Case("a number of 5,000 digits", "a.jsonl", _THREE + _row(b"9" * 5_000), Taken(3, {"broken_json": [4]})),
    Case("an array with not a number", "a.json", _in_array(b"NaN"), Taken(3, {"broken_json": [4]})),
    Case("an array with 5,000 digits", "a.json", _in_array(b"9" * 5_000), Taken(3, {"broken_json": [4]})),
    Case(
        "a field twice",
        "a.jsonl",
        _THREE + b'{"prompt": "x", "response": "y", "response": "z"}\n',
        Taken(3, {"duplicate_key": [4]}),
    ),
    Case(
        "a field twice deep down",
        "a.jsonl",
        _THREE + _row(b'{"a": 1, "a": 2}'),
        Taken(3, {"duplicate_key": [4]}),
    ),
    Case(
        "a field twice in an array",
        "a.json",
        _in_array(b'"y", "response": "z"'),
        Taken(3, {"duplicate_key": [4]}),
    ),
    Case(
        "field names of JavaScript",
        "a.jsonl",
        jsonl(*({**row, "__proto__": {"x": 1}, "constructor": "y"} for row in records(3))),
        Taken(3),
    ),
    Case(
        "every row other columns",
        "a.jsonl",
        jsonl(*({**row, f"c{n}": 1} for n, row in enumerate(records(3_000)))),
        Taken(3_000),
    ),
    Case(
        "an object of 200,000 fields",
        "a.jsonl",
        _THREE + jsonl({"prompt": "Wide?", "response": "Very.", **{f"f{n}": n for n in range(200_000)}}),
        Taken(4),
    ),
    Case(
        "a field twice among 200,000",
        "a.jsonl",
        _THREE
        + jsonl({"prompt": "Wide?", "response": "Very.", **{f"f{n}": n for n in range(200_000)}})[:-2]
        + b', "f199999": 1}\n',
        Taken(3, {"duplicate_key": [4]}),
    ),
    Case(
        "a field name of a megabyte",
        "a.jsonl",
        _THREE + jsonl({"prompt": "Long?", "response": "Very.", "n" * 1_000_000: 1}),
        Taken(4),
    ),
    Case(
        "a line of 98 MB",
        "a.jsonl",
        pieces(
            _THREE,
            b'{"prompt": "Long?", "response": "',
            (b"word ", 19_600_000),
            b'"}\n',
            jsonl(records(5)[4]),
        ),
        Taken(4, {"too_large": [4]}),
        whole_way=True,
    ),
    Case(
        "an element of 98 MB",
        "a.json",
        pieces(
            b"[",
            _THREE.replace(b"\n", b",\n"),
            b'{"prompt": "Long?", "response": "',
            (b"word ", 19_600_000),
            b'"}]',
        ),
        Taken(3, {"too_large": [4]}),
        whole_way=True,
    ),
    Case(
        "100 MB that never end",
        "a.json",
        pieces(b'{"prompt": "', (b"word ", 20_000_000)),
        Refused("MB|never closed|line 1"),
        whole_way=True,
    ),
    Case(
        "a million empty objects",
        "a.json",
        pieces(b"[", (b"{},\n", 1_000_000), b"{}]"),
        Refused("column|No example"),
        whole_way=True,
    ),
    Case("a million line ends", "a.jsonl", _THREE + b"\n" * 1_000_000 + jsonl(records(5)[4]), Taken(4)),
    Case(
        "an element of 50 million brackets",
        "a.json",
        pieces(b"[", _THREE.replace(b"\n", b",\n"), b"[", (b"[],", 25_000_000), b"[]]]"),
        Refused("line 4, column 1: it is too large, and its end cannot be found"),
        whole_way=True,
    ),
    Case(
        "100 MB of opening brackets in lines",
        "a.jsonl",
        pieces((b"[[[[[[[[[[[[[[[[[[[\n", 5_000_000)),
        Refused("nested"),
        whole_way=True,
    ),
]
