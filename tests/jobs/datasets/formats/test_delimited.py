"""CSV and its relatives: delimiter, header and quotes are found out and said, and bad rows are named."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import pytest

from jobs.datasets.records import ReadOptions
from jobs.datasets.sources import open_source
from storage.errors import StudioError
from tests.jobs.datasets.opened import opened

PAIRS = [("Is it, perhaps, late?", "It is; a little."), ("Hi", 'Say "hello".'), ("Two\nlines", "a\tb|c")]


def table(delimiter: str, header: str = "prompt,response", end: str = "\n") -> str:
    rows = [[f'"{text.replace(chr(34), chr(34) * 2)}"' for text in pair] for pair in PAIRS]
    return end.join([header.replace(",", delimiter), *(delimiter.join(row) for row in rows), ""])


@pytest.mark.parametrize(
    ("delimiter", "shown"), [(",", "comma"), (";", "semicolon"), ("\t", "tab"), ("|", "vertical bar")]
)
def test_the_delimiter_is_found_and_said(delimiter: str, shown: str, tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", table(delimiter))
    assert (found.pairs, found.detected["Delimiter"]) == (PAIRS, shown)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(end: str, tmp_path: Path) -> None:
    assert opened(tmp_path, "a.csv", table(",", end=end)).pairs == PAIRS


def test_the_delimiter_can_be_chosen_and_excel_can_name_it(tmp_path: Path) -> None:
    assert opened(tmp_path, "a.csv", table("~"), delimiter="~").pairs == PAIRS
    assert opened(tmp_path, "b.csv", "sep=^\n" + table("^")).pairs == PAIRS


def test_decimal_commas_do_not_make_columns(tmp_path: Path) -> None:
    rows = "".join(f"What do {n},5 kg cost?;It is {n},95 euros, all in.\n" for n in range(9))
    found = opened(tmp_path, "a.csv", "prompt;response\n" + rows)
    assert (found.detected["Delimiter"], found.pairs[3][1]) == ("semicolon", "It is 3,95 euros, all in.")


def test_a_first_row_that_is_an_example_is_kept(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", "Is it late?,It is a little late.\nHi you?,Hello to you.\n")
    assert found.pairs[0] == ("Is it late?", "It is a little late.") and found.detected["Header"] == "none"


def test_whether_there_is_a_header_can_be_chosen(tmp_path: Path) -> None:
    text = "one,two\nfirst text,second text\n"
    assert len(opened(tmp_path, "a.csv", text, has_header=False).pairs) == 2
    assert len(opened(tmp_path, "b.csv", text, has_header=True).pairs) == 1


def test_titles_above_the_header_are_passed_over_and_said(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", f"Export of March,\n,\n{table(',')}")
    assert found.pairs == PAIRS and "“Export of March”" in found.notes


def test_columns_without_a_name_get_one_and_empty_ones_at_the_end_go(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", "prompt,,response,,\na,x y,b,,\nc,z w,d,,\n")
    assert found.columns == ["prompt", "column 2", "response"] and found.pairs == [("a", "b"), ("c", "d")]


def test_a_needed_column_that_comes_twice_is_asked_about_another_is_not(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", "prompt,prompt,response\na b,c d,e f\n")
    assert found.why is not None and "more than one column named “prompt”" in found.why.message
    assert (found.columns, found.certain) == (["prompt", "prompt (2)", "response"], False)
    chosen = {"prompt": "prompt (2)", "response": "response"}
    assert opened(tmp_path, "b.csv", "prompt,prompt,response\na b,c d,e f\n", mapping=chosen).pairs == [
        ("c d", "e f")
    ]
    assert opened(tmp_path, "c.csv", "prompt,note,note,response\na,b,c,d\n").pairs == [("a", "d")]


RAGGED = "prompt,response\na,b\nc,d,e\nonly one\n,,\nf,g\n"


def test_ragged_rows_are_left_out_with_number_reason_and_text(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", RAGGED)
    assert found.codes() == {2: "broken_row", 3: "empty_answer", 4: "blank_row"}
    assert found.left_out[2].reason == "it has 3 cells where the header has 2"
    assert found.left_out[2].raw == "c,d,e"
    assert found.pairs == [("a", "b"), ("f", "g")]


def test_a_row_with_stray_quotes_is_left_out_with_its_lines(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", 'prompt,response\na,b\n"He said "no" again",yes\n"x\ny" z,w\nc,d\n')
    assert found.codes() == {2: "broken_row", 3: "broken_row"}
    assert "(line 3)" in found.left_out[2].reason and "(lines 4 to 5)" in found.left_out[3].reason
    assert found.left_out[2].raw == '"He said "no" again",yes'
    assert found.pairs == [("a", "b"), ("c", "d")]


def test_a_quote_that_is_never_closed_is_placed(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="line 3 is never closed") as caught:
        opened(tmp_path, "a.csv", 'prompt,response\na,b\nc,"d\ne,f\ng,h\n')
    assert "Close it" in caught.value.remedy


def test_a_quote_open_for_more_than_a_row_may_have_is_placed(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="line 3 is not closed within 10 MB"):
        opened(tmp_path, "a.csv", 'prompt,response\na,b\nc,"d' + "word word\n" * 1_100_000)


def test_a_row_that_is_too_large_is_left_out_with_its_size(tmp_path: Path) -> None:
    found = opened(tmp_path, "a.csv", 'prompt,response\na,b\nc,"' + "word " * 4_000_000 + '"\ne,f\n')
    assert found.codes() == {2: "too_large"} and "20 MB" in found.left_out[2].reason
    assert len(found.left_out[2].raw) <= 10_000
    assert found.pairs == [("a", "b"), ("e", "f")]


def test_a_cell_of_a_megabyte_is_taken(tmp_path: Path) -> None:
    long = "word " * 200_000
    assert opened(tmp_path, "a.csv", f'prompt,response\na,"{long}"\n').pairs == [("a", long)]


def test_columns_chosen_are_used_and_checked(tmp_path: Path) -> None:
    text = "eins,zwei,drei\na b,c d,e f\n"
    assert opened(tmp_path, "a.csv", text).why is not None
    chosen = {"prompt": "drei", "response": "eins", "system": None}
    assert opened(tmp_path, "b.csv", text, mapping=chosen).pairs == [("e f", "a b")]
    for wrong, says in (
        ({"prompt": "vier", "response": "eins"}, "no column “vier”"),
        ({"prompt": "eins", "response": "eins"}, "chosen for two parts"),
        ({"prompt": "eins"}, "A prompt and an answer"),
    ):
        with pytest.raises(StudioError, match=says):
            opened(tmp_path, "c.csv", text, mapping=wrong)


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with open(path, "w") as file:
        file.write("prompt,response\n")
        file.writelines(itertools.repeat("What is it?,It is what it is.\n", 1_000_000))
    tracemalloc.start()
    with open_source(path, path.name, ReadOptions()) as source:
        seen = sum(1 for _ in itertools.islice(source.items, 30_000))
        done = source.done_bytes()
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 30_000 and 0 < done < source.total_bytes / 5
    assert peak < 8_000_000
