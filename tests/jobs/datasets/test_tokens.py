"""Tokens from the cache are those that the text has, whatever becomes of the files in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.datasets import token_files, tokens
from jobs.datasets.row_files import CHANGES, ROWS, RowsWriter
from jobs.datasets.tokens import Tokens
from jobs.executors.local import PROJECT_ROOT
from jobs.generation.chat import BATCH_ROWS, ChatFormat
from storage import files
from storage.errors import StudioError

REFUSING = "{{ raise_exception('No system text, please.') if messages[0]['role'] == 'system' }}"


def turns(*contents: str, system: str = "") -> list[dict[str, str]]:
    said = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    return [{"role": "system", "content": system}, *said] if system else said


ROWS_OF_ALL_KINDS: list[dict[str, Any]] = [
    {"row": 1, "messages": turns("the quick", "fox"), "split": "train"},
    {"row": 3, "messages": turns("a", "b", "c d e", "<|im_end|> and 😀 \n"), "split": "held_out"},
    {"row": 4, "messages": turns("one"), "split": "left_out", "code": "one_sided", "reason": "no answer"},
    {"row": 5, "messages": turns("x" * 300, "JSON", system="Be brief."), "split": "train"},
    {"row": 6, "messages": turns("no answer here"), "split": "train"},
    {"row": 9, "messages": turns("ends", "with", "a question"), "split": "train"},
]


def dataset(id: str, rows: list[dict[str, Any]]) -> str:
    folder = files.dataset_folder(id)
    folder.mkdir(parents=True)
    with RowsWriter(folder) as writer:
        for row in rows:
            writer.add(row)
    files.write_json(folder / "dataset.json", {"base": id, "rows_sha256": writer.sha256, "problems": []})
    return id


def changed(id: str, base: str, rows: list[dict[str, Any]], parent: str | None = None) -> str:
    folder = files.dataset_folder(id)
    folder.mkdir(parents=True)
    with RowsWriter(folder, CHANGES) as writer:
        for row in rows:
            writer.add(row)
    recorded = files.read_json(files.dataset_folder(base) / "dataset.json")
    files.write_json(folder / "dataset.json", {**recorded, "base": base, "parent_id": parent or base})
    return id


@pytest.fixture
def dataset_id(home: Path) -> str:
    return dataset("d1", ROWS_OF_ALL_KINDS)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def plainly(found: Tokens) -> list[tuple[int, str, list[int], list[bool]]]:
    """(row, split, tokens, learned) of every row."""
    return [
        (
            int(record["row"]),
            ("train", "held_out", "left_out")[record["split"]],
            found.sources[source].token_ids[start : start + length].tolist(),
            found.sources[source].learned[start : start + length].tolist(),
        )
        for record, source, start, length in zip(
            found.rows, found.source, found.starts, found.lengths, strict=True
        )
    ]


def from_scratch(
    rows: list[dict[str, Any]], chat: ChatFormat
) -> list[tuple[int, str, list[int], list[bool]]]:
    told = []
    for row in rows:
        one = chat.example(row["messages"]) if row["split"] != "left_out" else None
        told.append((row["row"], row["split"], one.token_ids if one else [], one.learned if one else []))
    return told


def test_the_cache_holds_what_each_row_alone_becomes(dataset_id: str, model: Path) -> None:
    chat = ChatFormat.load(model)
    expected = from_scratch(ROWS_OF_ALL_KINDS, chat)
    for made in (5, 0):
        found = tokens.make(dataset_id, model)
        assert (found.made, plainly(found)) == (made, expected)
    for record, (_, _, _, learned) in zip(found.rows, expected, strict=True):
        assert record["learned"] == sum(learned[1:])
        assert record["used"] == max((i + 1 for i, one in enumerate(learned) if one), default=0)


def test_more_rows_than_are_encoded_together_keep_their_order(home: Path, model: Path) -> None:
    count = 2 * BATCH_ROWS + 7
    rows = [
        {"row": n, "messages": turns(f"the {n}", "fox " * (n % 5 + 1)), "split": "train"}
        for n in range(1, count + 1)
    ]
    told: list[tuple[str, int | None, int | None]] = []
    found = tokens.make(dataset("d2", rows), model, report=lambda *said: told.append(said))
    assert plainly(found) == from_scratch(rows, ChatFormat.load(model))
    assert [done for _, done, _ in told] == [BATCH_ROWS, 2 * BATCH_ROWS, count]
    assert {total for _, _, total in told} == {count}


def test_of_a_version_only_the_changes_are_tokenised(dataset_id: str, model: Path) -> None:
    tokens.make(dataset_id, model)
    changes: list[dict[str, Any]] = [
        {"row": 1, "messages": turns("the slow", "fox"), "split": "train"},
        {"row": 4, "messages": turns("one", "repaired"), "split": "train"},
        {"row": 5, "gone": True},
        {"row": 10, "messages": turns("new", "row"), "split": "train", "added": True},
    ]
    version = changed("v2", dataset_id, changes)
    found = tokens.make(version, model)
    now = [changes[0], ROWS_OF_ALL_KINDS[1], changes[1], *ROWS_OF_ALL_KINDS[4:], changes[3]]
    assert plainly(found) == from_scratch(now, ChatFormat.load(model))
    assert found.made == 3
    again = tokens.read(tokens.keys(version, model))
    assert again is not None and plainly(again) == plainly(found)
    # The version before is as it was.
    assert plainly(tokens.make(dataset_id, model)) == from_scratch(ROWS_OF_ALL_KINDS, ChatFormat.load(model))


def test_a_later_version_takes_what_an_earlier_one_has_of_it(dataset_id: str, model: Path) -> None:
    first = [
        {"row": 1, "messages": turns("the slow", "fox"), "split": "train"},
        {"row": 4, "messages": turns("one", "repaired"), "split": "train"},
    ]
    second = [first[0], {**first[1], "messages": turns("one", "better")}, {"row": 6, "gone": True}]
    tokens.make(dataset_id, model)
    assert tokens.make(changed("v2", dataset_id, first), model).made == 2
    changed("v3", dataset_id, second, parent="v2")  # never counted
    found = tokens.make(changed("v4", dataset_id, second[1:], parent="v3"), model)
    assert found.made == 1
    # Written whole, as after many changes: its base is itself.
    whole = [second[0], *ROWS_OF_ALL_KINDS[1:2], second[1], *ROWS_OF_ALL_KINDS[3:4], *ROWS_OF_ALL_KINDS[5:]]
    dataset("v5", whole)
    record = files.dataset_folder("v5") / "dataset.json"
    files.write_json(record, {**files.read_json(record), "parent_id": "v4"})
    found = tokens.make("v5", model)
    assert found.made == 1 and plainly(found) == from_scratch(whole, ChatFormat.load(model))


def test_the_reason_why_a_template_refuses_a_row_is_kept(dataset_id: str, model: Path) -> None:
    config = json.loads((model / "tokenizer_config.json").read_text())
    config["chat_template"] = REFUSING + config["chat_template"]
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    for _ in range(2):
        found = tokens.make(dataset_id, model)
        reasons = [found.reason(place) for place in range(len(found.rows))]
        assert [place for place, reason in enumerate(reasons) if reason] == [3]
        assert "No system text, please." in (reasons[3] or "")


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "config.json", "chat_template.jinja"]
)
def test_another_tokenizer_or_template_has_tokens_of_its_own(dataset_id: str, model: Path, name: str) -> None:
    before = set(tokens.keys(dataset_id, model))
    path = model / name
    path.write_text(path.read_text() + "\n" if path.exists() else "{{ messages[0]['content'] }}")
    assert before.isdisjoint(tokens.keys(dataset_id, model))


def test_a_template_with_the_date_has_tokens_for_each_day(
    dataset_id: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "chat_template.jinja").write_text("{{ strftime_now('%d') }}{{ messages[0]['content'] }}")
    today = set(tokens.keys(dataset_id, model))
    monkeypatch.setattr("jobs.generation.chat.today_of", lambda folder: "2001-02-03")
    assert today.isdisjoint(tokens.keys(dataset_id, model))


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "shorter":
        path.write_bytes(content[:-2])
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("how", ["gone", "shorter", "another byte"])
@pytest.mark.parametrize("name", ["token_ids", "learned", "rows", "entry.json"])
def test_a_damaged_entry_is_made_anew(dataset_id: str, model: Path, name: str, how: str) -> None:
    expected = plainly(tokens.make(dataset_id, model))
    (key,) = tokens.keys(dataset_id, model)
    damage(token_files.root() / key / name, how)
    found = tokens.make(dataset_id, model)
    assert (plainly(found), found.made) == (expected, 5)
    assert tokens.make(dataset_id, model).made == 0


def test_rows_that_are_not_those_that_were_written_down_are_tokenised_as_they_are(
    dataset_id: str, model: Path
) -> None:
    tokens.make(dataset_id, model)
    path = files.dataset_folder(dataset_id) / f"{ROWS}.jsonl"
    path.write_text(path.read_text().replace("the quick", "the quack"))
    row = {**ROWS_OF_ALL_KINDS[0], "messages": turns("the quack", "fox")}
    expected = from_scratch([row, *ROWS_OF_ALL_KINDS[1:]], ChatFormat.load(model))
    assert plainly(tokens.make(dataset_id, model)) == expected


def test_a_stop_and_a_damaged_row_leave_nothing_behind(home: Path, model: Path) -> None:
    rows = [{"row": n, "messages": turns("the", "fox"), "split": "train"} for n in range(1, 3 * BATCH_ROWS)]
    id = dataset("d2", rows)
    with pytest.raises(tokens.Stopped):
        tokens.make(id, model, should_stop=lambda: True)
    with (files.dataset_folder(id) / "rows.jsonl").open("a") as file:
        file.write("{oops\n")
    with pytest.raises(StudioError, match=f"Line {3 * BATCH_ROWS}"):
        tokens.make(id, model)
    assert not token_files.root().exists() and not list((files.root() / "tmp").iterdir())


def test_what_was_not_used_for_longest_goes_first_and_its_readers_go_on(home: Path, model: Path) -> None:
    made = {}
    for number in range(3):
        rows = [{"row": 1, "messages": turns(f"the {number}", "fox " * 50), "split": "train"}]
        made[number] = tokens.make(dataset(f"d{number}", rows), model)
        (key,) = tokens.keys(f"d{number}", model)
        os.utime(token_files.root() / key / "entry.json", (number, number))
    before = plainly(made[1])
    size = files.folder_bytes(token_files.root())
    assert tokens.make("d0", model).made == 0  # used now
    token_files.keep_to(size - 1)
    assert [tokens.read(tokens.keys(f"d{number}", model)) is None for number in range(3)] == [
        False,
        True,
        False,
    ]
    assert plainly(made[1]) == before
    (last,) = tokens.keys("d2", model)
    token_files.keep_to(0, but=last)
    assert [folder.name for folder in token_files.root().iterdir()] == [last]


def test_deleted_datasets_leave_no_tokens_and_others_keep_theirs(dataset_id: str, model: Path) -> None:
    other = dataset("d2", [{"row": 1, "messages": turns("other", "text"), "split": "train"}])
    version = changed("v2", dataset_id, [{"row": 1, "gone": True}])
    for id in (version, other):
        tokens.make(id, model)
    tokens.forget([dataset_id, version, "never there"])
    assert {folder.name for folder in token_files.root().iterdir()} == set(tokens.keys(other, model))


def test_the_page_reads_tokens_without_torch(home: Path) -> None:
    code = (
        "import sys, jobs.datasets.lengths\n"
        "print({'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "set()\n"
