"""Prompts from pasted text and from files of all kinds."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from jobs.evaluation import prompt_lists
from jobs.evaluation.prompt_lists import PromptList, columns_of, of_file, of_text, of_values
from storage.errors import StudioError


def said(found: PromptList) -> list[str]:
    return [messages[-1]["content"] for messages in found.prompts]


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_line_is_a_prompt() -> None:
    assert said(of_text("\ufeffOne?\r\n\r\n  Two? \rThree?")) == ["One?", "Two?", "Three?"]


def test_empty_lines_may_separate_prompts_of_several_lines() -> None:
    text = "Dear shop,\nwhere is it?\n \n\nSecond\n"
    assert said(of_text(text, "blank_lines")) == ["Dear shop,\nwhere is it?", "Second"]
    windows = of_text(text.replace("\n", "\r\n"), "blank_lines")
    assert said(windows) == ["Dear shop,\nwhere is it?", "Second"]
    with pytest.raises(StudioError, match="separated by 'commas'"):
        of_text(text, "commas")


def test_values_are_texts_or_conversations() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    found = of_values(["One?", [*turns, {"role": "user", "content": "And?"}]])
    assert said(found) == ["One?", "And?"] and len(found.prompts[1]) == 3
    with pytest.raises(StudioError, match="Prompt 2: The prompt is empty"):
        of_values(["One?", " "])
    with pytest.raises(StudioError, match="Prompt 1: The prompt is empty"):
        of_values([turns])


@pytest.mark.parametrize("given", ["", " \n \n", []])
def test_no_prompt_is_said(given: Any) -> None:
    with pytest.raises(StudioError, match="There is no prompt in it"):
        of_text(given) if isinstance(given, str) else of_values(given)


def test_more_than_ten_thousand_prompts_are_refused() -> None:
    assert len(of_text("a?\n" * 10_000).prompts) == 10_000
    with pytest.raises(StudioError, match="more than 10,000 prompts"):
        of_text("a?\n" * 10_001)
    with pytest.raises(StudioError, match="more than 10,000 prompts"):
        of_values(["a?"] * 10_001)


@pytest.mark.parametrize("separated", prompt_lists.SEPARATED)
def test_a_text_of_too_many_prompts_is_not_read_to_its_end(separated: str) -> None:
    """2 MB of a letter on each line would be 300 MB of conversations."""
    text = "a\n\n" * 700_000
    tracemalloc.start()
    try:
        with pytest.raises(StudioError, match="more than 10,000 prompts"):
            of_text(text, separated)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_plain_text_files_in_any_encoding(tmp_path: Path) -> None:
    path = written(tmp_path, "list.TXT", "Größe?\nPreis?\n".encode("cp1252"))
    assert said(of_file(path, "list.TXT")) == ["Größe?", "Preis?"]
    assert columns_of(path, "list.TXT") == ([], None)
    path = written(tmp_path, "mails.txt", "a\nb\n\nc")
    assert said(of_file(path, "mails.txt", separated="blank_lines")) == ["a\nb", "c"]


def test_a_table_gives_the_column_that_is_named_so(tmp_path: Path) -> None:
    path = written(tmp_path, "asked.csv", 'id,Question,notes\n1,"How, then?",x\n2,,y\n3,=1+1,z\n')
    assert columns_of(path, "asked.csv") == (["id", "Question", "notes"], "Question")
    found = of_file(path, "asked.csv")
    assert (said(found), found.column, found.left_out) == (["How, then?", "=1+1"], "Question", 1)
    assert said(of_file(path, "asked.csv", "notes")) == ["x", "y", "z"]
    with pytest.raises(StudioError, match="no column “Answer”"):
        of_file(path, "asked.csv", "Answer")


def test_a_table_that_does_not_say_is_asked_about(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "alpha,beta\nx,y\nz,w\n")
    assert columns_of(path, "t.csv") == (["alpha", "beta"], None)
    with pytest.raises(StudioError, match=r"cannot be told.*choose one of “alpha”, “beta”"):
        of_file(path, "t.csv")
    assert said(of_file(path, "t.csv", "beta")) == ["y", "w"]


def test_json_lines_with_texts_or_conversations(tmp_path: Path) -> None:
    rows = [{"prompt": "One?", "response": "1"}, {"prompt": "Two?"}, {"other": "x"}]
    path = written(tmp_path, "p.jsonl", "\n".join(map(json.dumps, rows)))
    found = of_file(path, "p.jsonl")
    assert (said(found), found.left_out) == (["One?", "Two?"], 1)
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}]
    rows = [{"messages": [*turns, {"role": "assistant", "content": "learned"}]}, {"messages": turns}]
    path = written(tmp_path, "m.jsonl", "\n".join(map(json.dumps, rows)))
    assert of_file(path, "m.jsonl").prompts == [turns, turns]


def test_a_file_of_something_else_is_refused_in_words(tmp_path: Path) -> None:
    for content, words in ((b"", "empty"), (bytes(range(256)) * 30, "not plain text")):
        with pytest.raises(StudioError, match=words):
            of_file(written(tmp_path, "x.txt", content), "x.txt")
    path = written(tmp_path, "large.txt", "x")
    limit, prompt_lists.LARGEST_TEXT_BYTES = prompt_lists.LARGEST_TEXT_BYTES, 0
    try:
        with pytest.raises(StudioError, match="larger than"):
            of_file(path, "large.txt")
    finally:
        prompt_lists.LARGEST_TEXT_BYTES = limit
