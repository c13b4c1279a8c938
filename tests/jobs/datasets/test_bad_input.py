"""Whatever is brought, the answer is a dataset or a sentence with a way out, and nothing half-imported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.datasets.formats import reading
from jobs.datasets.importing import add_dataset, add_pasted
from storage import datasets
from storage.errors import StudioError
from tests.jobs.datasets.imported import from_text, read_examples

ROW = b'{"prompt": "a", "response": "b"}\n'
TURNS = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
ASSISTANT_FIRST = b'{"messages": [{"role": "assistant", "content": "a"}]}\n'
# name → (file name, content, what the message must say)
BAD_FILES = {
    "empty": ("a.csv", b"", "empty"),
    "only spaces": ("a.csv", b" \n\n \t\n", "empty"),
    "only a byte order mark": ("a.csv", b"\xef\xbb\xbf", "empty"),
    "header only": ("a.csv", b"prompt,response\n", "no rows"),
    "header only, TSV": ("a.tsv", b"prompt\tresponse", "no rows"),
    "Excel under a CSV name": ("a.csv", b"PK\x03\x04\x14\0\6\0", "named .csv but is a ZIP"),
    "PNG": ("a.json", b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
    "PDF": ("a.jsonl", b"%PDF-1.7\n%abc", "PDF"),
    "Parquet": ("a.csv", b"PAR1\x15\4\x15", "Parquet"),
    "gzip": ("a.json", b"\x1f\x8b\x08\0", "gzip"),
    "old Excel": ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel"),
    "NUL": ("a.csv", b"prompt,response\na,b\nc\0,d\n", r"Only one example.*a NUL byte \(line 3\)"),
    "Latin-1 behind a mark": (
        "a.csv",
        b"\xef\xbb\xbfprompt\n\xfc",
        r"Row 1: it has the byte 0xfc.*\(line 2\)",
    ),
    "half a character in UTF-16": (
        "a.csv",
        "prompt,response\na,b".encode("utf-16")[:-1],
        "UTF-16.*offset 38",
    ),
    "full of NUL bytes": ("a.csv", bytes(5_000), "not plain text: there is a NUL byte at offset 0"),
    "broken JSON": ("a.json", b'[{"prompt": "a",\n "response": }]', "line 2, column 14"),
    "cut-off JSON": (
        "a.json",
        b'[\n{"prompt": "a", "response": "b"},\n{"prompt": "c", "resp',
        "line 3, column",
    ),
    "all JSONL lines broken": ("a.jsonl", b'{"prompt": oops}\n{"prompt": oops}\n', "line 1, column 12"),
    "JSON nested too deep": ("a.json", b"[" * 200_000, "nested too deep"),
    "objects nested too deep": ("a.json", b'{"a":' * 200_000, "nested too deep"),
    "endless number": ("a.json", b"[" + b"9" * 10_000 + b"]", "more digits"),
    "a JSON number": ("a.json", b"12", "columns"),
    "a JSON text": ("a.json", b'"hello"', "no rows"),
    "an empty list": ("a.json", b"[]", "empty list"),
    "an empty object": ("a.json", b"{}", "no columns"),
    "a list of numbers": ("a.json", b"[1, 2, 3]", "no columns"),
    "loose messages": ("a.json", b'[{"role": "user", "content": "a"}]', "single messages"),
    "one row": ("a.jsonl", ROW, "Only one example"),
    "one usable row": ("a.jsonl", ROW + b'{"prompt": "c", "response": ""}\n', "the answer is empty"),
    "only unusable rows": ("a.jsonl", ASSISTANT_FIRST * 3, "assistant comes first"),
    "one column": ("a.csv", b"text\nhello you\nhello me\n", "“text”"),
    "no usable column": ("a.csv", b"x,y\n1,2\n3,4\n", "“x”, “y”"),
    "a column twice": (
        "a.csv",
        b"prompt,prompt,response\na,b,c\nd,e,f\n",
        "more than one column named “prompt”",
    ),
    "an open quote": ("a.csv", b'prompt,response\na,b\nc,"d\ne,f\ng,h\n', "line 3 is never closed"),
    "prose": ("a.txt", b"Dear all\nthis is no table\nat all\n", "cannot be told"),
}


def assert_helpful(error: StudioError) -> None:
    assert error.message.strip() and error.remedy.strip()
    assert "Traceback" not in str(error) and len(str(error)) < 2000
    str(error).encode("utf-8")


def assert_nothing_stored(home: Path) -> None:
    assert [*(home / "datasets").iterdir(), *(home / "tmp").iterdir()] == []
    assert datasets.list_all() == []


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_explained_and_leaves_nothing(case: str, home: Path, tmp_path: Path) -> None:
    name, content, says = BAD_FILES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StudioError, match=says) as caught:
        add_dataset(tmp_path / name, "Bad")
    assert_helpful(caught.value)
    assert name in caught.value.message
    assert_nothing_stored(home)


def test_a_missing_file_and_a_folder_are_explained(home: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.csv", tmp_path, Path("a\0b")):
        with pytest.raises(StudioError) as caught:
            add_dataset(path)
        assert_helpful(caught.value)
    assert_nothing_stored(home)


def test_a_file_above_the_limit_is_refused_before_it_is_read(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with open(path, "wb") as file:
        file.truncate(reading.LARGEST_BYTES + 1)
    with pytest.raises(StudioError, match="at most 4,000 MB"):
        add_dataset(path)


@pytest.mark.parametrize("text", ["", "   ", "hello", "\ud800,b\nc,d", "a\0b", "[", "{" * 10])
def test_bad_pasted_text_is_explained(text: str, home: Path) -> None:
    with pytest.raises(StudioError) as caught:
        add_pasted(text)
    assert_helpful(caught.value)
    assert_nothing_stored(home)


def check_is_clean(path: Path) -> None:
    """An import, or a helpful StudioError; whatever else is raised fails the test."""
    try:
        imported = read_examples(path)
    except StudioError as error:
        assert_helpful(error)
        return
    assert len(imported.examples) >= 2
    for example in imported.examples:
        assert example.messages[-1]["role"] == "assistant" and example.messages[-1]["content"].strip()
    # What is stored and sent to the page must be writable as UTF-8.
    everything = [
        imported.columns,
        [p.as_json() for p in imported.problems],
        [e.messages for e in imported.examples],
    ]
    json.dumps(everything, ensure_ascii=False).encode("utf-8")


FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
VALID = [
    TURNS * 3,
    ROW * 3,
    b"[" + b",\n".join([ROW] * 3) + b"]",
    b'prompt,response\n"a, b",c\n"d ""e""",f\ng,h\n',
    b"prompt\tresponse\na\tb\nc\td\n",
    '{"instruction": "é\\ud83d\\ude00", "input": 1e5, "output": [true, null]}\n'.encode() * 3,
]
SNIPPETS = st.sampled_from(
    [
        *(b'"', b"\\n", b"\\r", b",", b"\\t", b"{", b"[", b"]", b"}", b"\\0", b"\\xff", b"\\xef\\xbb\\xbf"),
        *(b"\\\\ud800", b"\\\\u0000", b"NaN", b"1e999"),
    ]
)


FIELDS = st.sampled_from(["prompt", "response", "messages", "system", "input"]) | st.text(max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=10)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@FUZZ
@given(data=st.binary(max_size=300), suffix=st.sampled_from([".csv", ".json", ".jsonl", ""]))
def test_random_bytes_never_surprise(data: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(data)
    check_is_clean(path)


@FUZZ
@given(
    valid=st.sampled_from(VALID),
    changes=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 6), st.one_of(SNIPPETS, st.binary(max_size=3))),
        max_size=5,
    ),
    suffix=st.sampled_from([".csv", ".json", ".jsonl", ".txt"]),
)
def test_damaged_files_never_surprise(
    valid: bytes, changes: list[tuple[int, int, bytes]], suffix: str, tmp_path: Path
) -> None:
    for at, removed, put in changes:
        valid = valid[:at] + put + valid[at + removed :]
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(valid)
    check_is_clean(path)


@FUZZ
@given(rows=st.lists(st.dictionaries(FIELDS, VALUES, max_size=5), max_size=6))
def test_any_json_never_surprises(rows: list[dict[str, object]], tmp_path: Path) -> None:
    path = tmp_path / "fuzz.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    check_is_clean(path)


def test_a_lone_surrogate_in_a_field_name_can_still_be_shown() -> None:
    imported = from_text('{"prompt": "a", "response": "b", "\\ud800": 1}\n' * 2)
    json.dumps(imported.columns, ensure_ascii=False).encode("utf-8")
