"""JSON in every shape becomes the same rows; what is not strict JSON is placed by line and column."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from jobs.datasets.formats import json_values
from jobs.datasets.sources import open_source
from storage.errors import StudioError
from tests.jobs.datasets.opened import opened

ROWS = [{"prompt": f"Question {n}: é\u2028?", "response": f'Say "{n}", {{please}}.'} for n in range(4)]
PAIRS = [(row["prompt"], row["response"]) for row in ROWS]
LINES = [json.dumps(row) for row in ROWS]
SHAPES = {
    "lines": "\n".join(LINES),
    "lines in Unicode": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "lines that end in commas": ",\n".join(LINES),
    "lines with record separators": "".join(f"\x1e{line}\n" for line in LINES),
    "lines with marks": "".join(f"\ufeff{line}\n" for line in LINES),
    "blank lines between": "\n \n".join(LINES),
    "a list": json.dumps(ROWS),
    "a list over many lines": json.dumps(ROWS, indent=2),
    "a list, one element a line": "[\n" + ",\n".join(LINES) + "\n]\n",
    "two lists": json.dumps(ROWS[:2]) + "\n" + json.dumps(ROWS[2:], indent=1),
    "one after another": "".join(LINES),
    "one after another over many lines": "\n".join(json.dumps(row, indent=3) for row in ROWS),
    "a list inside an object": json.dumps({"version": "1", "tags": ["a"], "data": ROWS}),
    "a list inside an object over many lines": json.dumps({"meta": {"a": [1]}, "rows": ROWS}, indent=1),
}


@pytest.mark.parametrize("shape", SHAPES)
class TestEveryShape:
    @pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "txt"])
    def test_gives_the_same_rows_whatever_its_name(self, shape: str, suffix: str, tmp_path: Path) -> None:
        assert opened(tmp_path, f"a.{suffix}", SHAPES[shape]).pairs == PAIRS

    def test_gives_the_same_rows_through_the_smallest_window(
        self, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(json_values, "_WINDOW", 1)
        assert opened(tmp_path, "a.json", SHAPES[shape]).pairs == PAIRS

    @pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "cp1252"])
    def test_gives_the_same_rows_in_other_encodings(self, shape: str, codec: str, tmp_path: Path) -> None:
        if codec != "cp1252" or SHAPES[shape].isascii():
            assert opened(tmp_path, "a.json", SHAPES[shape].encode(codec)).pairs == PAIRS


def test_a_number_is_whole_however_small_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "_WINDOW", 1)
    found = opened(tmp_path, "a.json", f"[{LINES[0]}, 123456789, {LINES[1]}]")
    assert found.pairs == PAIRS[:2] and found.codes() == {2: "not_an_object"}


def test_large_objects_around_a_list_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "LONGEST_ROW", 20_000)
    monkeypatch.setattr(json_values, "_WINDOW", 1_000)
    rows = [{"prompt": f"Question {n}", "response": "Answer " * 20} for n in range(300)]
    text = json.dumps({"meta": {"x": ["]}"] * 9}, "rows": rows, "more": [1, "{"]})
    found = opened(tmp_path, "a.json", text)
    assert (len(found.pairs), found.format) == (300, "json")
    with pytest.raises(StudioError, match="more than one list"):
        opened(tmp_path, "b.json", json.dumps({"rows": rows, "others": rows}))


def test_a_list_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        "[" + ",\n".join([json.dumps({"prompt": "What?", "response": "That. " * 30})] * 40_000) + "]"
    )
    tracemalloc.start()
    with open_source(path, path.name) as source:
        assert sum(1 for _ in source.items) == 40_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def row(response: str) -> str:
    return '{"prompt": "x", "response": ' + response + "}"


DEEP = "[" * 65 + "]" * 65
REFUSED: dict[str, tuple[str, str, str]] = {
    "not a number": (row("NaN"), "broken_json", "column 29: NaN is no value"),
    "infinity": (row("-Infinity"), "broken_json", "column 29: -Infinity is no value"),
    "too many digits": (row("9" * 5_000), "broken_json", "more digits"),
    "too deep": (row(DEEP), "broken_json", "more than 64 levels"),
    "far too deep": (row("[" * 50_000 + "]" * 50_000), "broken_json", "more than 64 levels"),
    "a field twice": (
        '{"prompt": "x", "response": "y", "response": "z"}',
        "duplicate_key",
        "'response' twice",
    ),
    "half a character": (row('"\\ud800"'), "broken_character", "half a character"),
    "beyond all numbers": (row("[1e999]"), "not_text", "infinity"),
}


@pytest.mark.parametrize("case", REFUSED)
class TestARowThatIsNotStrict:
    def test_is_left_out_of_lines_with_its_place(self, case: str, tmp_path: Path) -> None:
        bad, code, says = REFUSED[case]
        found = opened(tmp_path, "a.jsonl", "\n".join([*LINES[:2], bad, *LINES[2:]]))
        assert found.codes() == {3: code} and says in found.left_out[3].reason
        assert found.pairs == PAIRS
        if code == "broken_json":
            assert "line 3" in found.left_out[3].reason and bad.startswith(found.left_out[3].raw[:100])

    def test_is_left_out_of_a_list_with_its_place(self, case: str, tmp_path: Path) -> None:
        bad, code, says = REFUSED[case]
        found = opened(tmp_path, "a.json", "[" + ",\n".join([*LINES[:2], bad, *LINES[2:]]) + "]")
        assert found.codes() == {3: code} and says in found.left_out[3].reason
        assert found.pairs == PAIRS

    def test_sixty_four_levels_are_taken(self, case: str, tmp_path: Path) -> None:
        found = opened(tmp_path, "a.jsonl", "\n".join([*LINES, row("[" * 63 + "]" * 63)]))
        assert len(found.pairs) == 5


def test_a_broken_line_is_left_out_with_its_text(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.jsonl", "\n".join([LINES[0], '{"prompt": oops}', '{"a": 1} 2', *LINES[1:]]))
    assert found.codes() == {2: "broken_json", 3: "broken_json"}
    assert (
        "line 2, column 12" in found.left_out[2].reason
        and "column 10: Extra data" in found.left_out[3].reason
    )
    assert found.left_out[2].raw == '{"prompt": oops}'


def test_an_error_in_a_list_is_placed_however_far_it_is(tmp_path: Path) -> None:
    many = ",\n".join(LINES * 5_000)
    with pytest.raises(StudioError, match="at line 20,001, column 3: Expecting") as caught:
        opened(tmp_path, "a.json", f"[{many},\n  oops]")
    assert "Correct it there" in caught.value.remedy


def test_a_row_of_many_megabytes_is_left_out_with_its_size(tmp_path: Path) -> None:
    large = json.dumps({"prompt": "Long?", "response": 'word "} ' * 2_000_000})
    for name, text in (
        ("a.jsonl", "\n".join([LINES[0], large, LINES[1]])),
        ("a.json", f"[{LINES[0]},{large},{LINES[1]}]"),
    ):
        found = opened(tmp_path, name, text)
        assert found.codes() == {2: "too_large"} and "18 MB" in found.left_out[2].reason
        assert found.pairs == PAIRS[:2] and len(found.left_out[2].raw) <= 10_000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "empty list"),
        ('[{"a": 1},', "line 1, column 11"),
        ('[{"a": 1}] oops', "line 1, column 12"),
        ('{"prompt": "a', "Unterminated string"),
        ("[" * 200_000, "nested too deep"),
        ('{"a":' * 200_000, "nested too deep"),
        ("[\n" * 200_000, "nested too deep"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match=says):
        opened(tmp_path, "a.json", text)


def test_bytes_that_fit_no_character_leave_their_row_out(tmp_path: Path) -> None:
    for name, start, seam, end in (("a.jsonl", b"", b"\n", b""), ("a.json", b"[", b",\n", b"]")):
        bad = json.dumps({"prompt": "é", "response": "b"}, ensure_ascii=False).encode() + b"\xff"
        lines = [json.dumps(one, ensure_ascii=False).encode() for one in ROWS]
        bad = lines[0].replace(b"Say", b"Sa\xff")
        found = opened(tmp_path, name, start + seam.join([*lines, bad]) + end)
        assert found.codes() == {5: "broken_character"} and "0xff" in found.left_out[5].reason


def test_lists_of_messages_are_conversations(tmp_path: Path) -> None:
    chat: list[dict[str, Any]] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert opened(tmp_path, "a.jsonl", "\n".join([json.dumps(chat)] * 2)).pairs == [("a", "b")] * 2
    assert opened(tmp_path, "a.json", json.dumps([chat, chat])).pairs == [("a", "b")] * 2


def test_an_exported_chat_is_not_taken_for_a_list(tmp_path: Path) -> None:
    lines = "".join(f"[12.03.24, 14:0{n}:11] {'Ann' if n % 2 == 0 else 'Ben'}: Text {n}\n" for n in range(6))
    assert opened(tmp_path, "a.txt", lines).format == "text"
