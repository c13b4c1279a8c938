"""Every change is a new version, nothing that was there is touched, and all of it can be undone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from jobs import rebuild
from jobs.datasets import change_process, child, importing, rechecking, versions
from jobs.datasets.rows import get_row, load_rows, page_of_rows, rows_of_problem
from storage import database, datasets, files
from storage.datasets import Dataset
from storage.errors import StudioError
from tests.jobs.datasets.changing import add, at_once, edit, numbers, pasted, said


def content(dataset_id: str) -> dict[str, bytes]:
    """Every file of a version's folder."""
    folder = files.dataset_folder(dataset_id)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_change_makes_a_new_version_and_leaves_the_old_one_as_it_was(dataset: Dataset) -> None:
    row = numbers(dataset.id, "train")[0]
    before, rows_before = content(dataset.id), load_rows(dataset.id)
    said_before: list[str] = []
    new = versions.apply(dataset.id, edit(row, "New?"), lambda words, done, total: said_before.append(words))
    assert (new.name, new.family, new.version, new.parent_id) == ("Mine", dataset.id, 2, dataset.id)
    assert new.change == f"Row {row} was edited." and new.is_current and new.sha256 == dataset.sha256
    assert (new.rows, new.train_rows, new.held_out_rows) == (
        dataset.rows,
        dataset.train_rows,
        dataset.held_out_rows,
    )
    assert get_row(new.id, row) == {"row": row, "messages": said("New?"), "split": "train"}
    assert [one for one in load_rows(new.id) if one["row"] != row] == [
        one for one in rows_before if one["row"] != row
    ]
    after = content(dataset.id)
    assert {name: after[name] for name in before} == before and load_rows(dataset.id) == rows_before
    assert set(after) - set(before) == {"current", "given.json"}
    assert "Comparing the rows with each other" in said_before
    assert list((files.root() / "tmp").iterdir()) == []


def test_rows_are_added_deleted_and_repaired(dataset: Dataset) -> None:
    last = max(row["row"] for row in page_of_rows(dataset.id, 0, 1000).rows)
    added = at_once(dataset.id, add("Another?"))
    assert get_row(added.id, last + 1) == {
        "row": last + 1, "messages": said("Another?"), "split": "train", "added": True
    }  # fmt: skip
    assert (added.rows, added.train_rows) == (dataset.rows + 1, dataset.train_rows + 1)
    many = at_once(added.id, {"kind": "add_many", "rows": [said("One?"), said("Two?")]})
    assert many.change == "2 rows were added." and numbers(many.id)[-2:] == [last + 2, last + 3]
    gone = at_once(many.id, {"kind": "delete", "rows": [last + 3, 1]})
    assert gone.change == "2 rows were deleted." and not {1, last + 3} & set(numbers(gone.id))
    again = at_once(gone.id, add("Again?"))
    assert numbers(again.id)[-1] == last + 4, "a number is never given out twice"
    assert again.left_out_rows == 1
    repaired = at_once(again.id, edit(last, "Nothing?", "Something."))
    assert get_row(repaired.id, last) == {
        "row": last,
        "messages": said("Nothing?", "Something."),
        "split": "train",
    }
    assert (repaired.left_out_rows, repaired.change) == (0, f"Row {last} was repaired.")
    assert "empty_answer" not in {problem["code"] for problem in repaired.problems}


def test_row_numbers_stay_unique_when_their_file_is_damaged(dataset: Dataset) -> None:
    new = at_once(dataset.id, add("One?"))
    (files.dataset_folder(dataset.id) / "given.json").write_text("{")
    again = at_once(dataset.id, add("Two?"))
    assert numbers(again.id)[-1] == numbers(new.id)[-1] + 1 and again.version == 3


def test_fixes_put_right_what_the_findings_name(dataset: Dataset) -> None:
    named = {problem["code"]: problem["count"] for problem in dataset.problems}
    assert named["email_address"] == 4 and named["empty_answer"] == 1
    repeats = rows_of_problem(dataset.id, "duplicate") or rows_of_problem(dataset.id, "leak")
    assert repeats
    fixed = at_once(
        dataset.id, {"kind": "fix", "codes": ["email_address", "empty_answer", "duplicate", "leak"]}
    )
    assert fixed.problems == [] or not named.keys() & {problem["code"] for problem in fixed.problems}
    assert len(set(numbers(dataset.id)) - set(numbers(fixed.id))) == len(
        {*rows_of_problem(dataset.id, "duplicate"), *rows_of_problem(dataset.id, "leak")}
    )
    assert "4 rows put right" in fixed.change
    with pytest.raises(StudioError, match="nothing left to fix"):
        at_once(fixed.id, {"kind": "fix", "codes": ["email_address"]})
    one = rows_of_problem(dataset.id, "email_address")[:1]
    some = at_once(dataset.id, {"kind": "fix_rows", "code": "email_address", "rows": [*one, 1]})
    assert rows_of_problem(some.id, "email_address") == rows_of_problem(dataset.id, "email_address")[1:]
    assert get_row(some.id, 1) == get_row(dataset.id, 1), "a row that the finding does not name stays"


def test_a_fix_that_changes_no_row_makes_no_version(dataset: Dataset) -> None:
    row = numbers(dataset.id, "train")[0]
    files.write_json(files.dataset_folder(dataset.id) / "problems.json", {"control_characters": [row]})
    with pytest.raises(StudioError, match="nothing left to fix"):
        at_once(dataset.id, {"kind": "fix", "codes": ["control_characters"]})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (None, "no kind of change"),
        ({"kind": "drop"}, "no kind of change"),
        ({"kind": "fix", "codes": []}, "names no codes"),
        ({"kind": "fix", "codes": ["same_prompt"]}, "no rule that fixes 'same_prompt'"),
        ({"kind": "fix", "codes": ["duplicate", ["x"]]}, "no rule that fixes"),
        ({"kind": "delete", "rows": [0]}, "no row number"),
        ({"kind": "delete", "rows": [True]}, "no row number"),
        ({"kind": "delete", "rows": [float("nan")]}, "no row number"),
        ({"kind": "delete", "rows": ["1"]}, "no row number"),
        ({"kind": "delete", "rows": [999]}, "There is no row 999"),
        ({"kind": "delete", "rows": list(range(1, 47))}, "Nothing to learn from would be left"),
        ({"kind": "edit", "row": 999, "messages": said("a")}, "There is no row 999"),
        ({"kind": "edit", "row": 5, "messages": "text"}, "names no messages"),
        ({"kind": "add", "messages": [{"role": "user", "content": "Only asked"}]}, "not the assistant's"),
        ({"kind": "add", "messages": said("Asked", "  ")}, "the answer is empty"),
        ({"kind": "add", "messages": said("Asked", "\ud800")}, "half a character"),
        ({"kind": "add", "messages": [5]}, "not an object"),
        ({"kind": "add_many", "rows": [said("a"), []]}, "New row 2 cannot be learned from"),
        ({"kind": "check"}, "have been checked"),
    ],
)
def test_what_is_no_change_is_refused_and_leaves_nothing(
    dataset: Dataset, change: Any, sentence: str
) -> None:
    with pytest.raises(StudioError, match=sentence):
        versions.apply(dataset.id, change)
    assert versions.history(dataset.id) == [dataset]
    assert list((files.root() / "tmp").iterdir()) == []
    assert [path.name for path in (files.root() / "datasets").iterdir()] == [dataset.id]


def test_an_edit_that_changes_nothing_makes_no_version(dataset: Dataset) -> None:
    row = load_rows(dataset.id, "train")[0]
    with pytest.raises(StudioError, match="says exactly this already"):
        at_once(dataset.id, {"kind": "edit", "row": row["row"], "messages": row["messages"]})


def test_a_held_out_row_is_not_edited_but_can_be_deleted(dataset: Dataset) -> None:
    row = numbers(dataset.id, "held_out")[0]
    with pytest.raises(StudioError, match=f"Row {row} is kept aside to test on"):
        versions.apply(dataset.id, edit(row, "Easier?"))
    gone = at_once(dataset.id, {"kind": "delete", "rows": [row]})
    assert numbers(gone.id, "held_out") == numbers(dataset.id, "held_out")[1:]
    none = at_once(dataset.id, {"kind": "delete", "rows": numbers(dataset.id, "held_out")})
    assert none.held_out_rows == 0 and "no_held_out" in {problem["code"] for problem in none.problems}


def test_undo_and_redo_move_a_mark_and_survive_the_loss_of_the_database(dataset: Dataset) -> None:
    with pytest.raises(StudioError, match="nothing to undo"):
        versions.undo(dataset.id)
    second = at_once(dataset.id, add("Two?"))
    third = at_once(second.id, add("Three?"))
    with pytest.raises(StudioError, match="nothing to redo"):
        versions.redo(third.id)
    assert versions.undo(third.id).id == second.id and versions.undo(second.id).id == dataset.id
    assert datasets.families()[0].id == dataset.id
    assert versions.redo(dataset.id).id == second.id
    branch = at_once(second.id, add("Another three?"))
    assert [one.version for one in versions.history(dataset.id)] == [4, 3, 2, 1]
    assert versions.redo(second.id).id == branch.id, "the newest of two"
    versions.go_to(third.id)
    before = datasets.list_all()
    counts = rebuild.rebuild()
    database.connect()
    assert counts.problems == [] and datasets.list_all() == before
    assert datasets.families()[0].id == third.id


def test_what_differs_between_any_two_versions(dataset: Dataset) -> None:
    row = numbers(dataset.id, "train")[2]
    new = at_once(dataset.id, edit(row, "New?"))
    new = at_once(new.id, add("Another?"))
    new = at_once(new.id, {"kind": "delete", "rows": [numbers(dataset.id)[5]]})
    found = versions.diff(dataset.id, new.id)
    assert found.totals == {"added": 1, "removed": 1, "changed": 1}
    assert found.changed == [(row, get_row(dataset.id, row), get_row(new.id, row))]
    assert found.removed == [get_row(dataset.id, numbers(dataset.id)[5])]
    assert found.added[0]["messages"] == said("Another?")
    back = versions.diff(new.id, dataset.id)
    assert (back.added, back.removed) == (found.removed, found.added)
    assert versions.diff(new.id, new.id).totals == {"added": 0, "removed": 0, "changed": 0}
    assert versions.diff(dataset.id, new.id, 1, 5).changed == []
    other = importing.add_pasted(pasted(), "Other")
    with pytest.raises(StudioError, match="different datasets"):
        versions.diff(dataset.id, other.id)


def test_a_version_with_many_changes_holds_all_its_rows_itself(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_process, "LEAST_CHANGED_ROWS", 2)
    monkeypatch.setattr(change_process, "MOST_CHANGED_SHARE", 0.05)
    rows = numbers(dataset.id, "train")
    small = at_once(dataset.id, edit(rows[0], "One?"))
    large = at_once(small.id, {"kind": "add_many", "rows": [said("Two?"), said("Three?")]})
    assert not (files.dataset_folder(small.id) / "rows.jsonl").exists()
    assert (files.dataset_folder(large.id) / "rows.jsonl").exists()
    assert not (files.dataset_folder(large.id) / "changes.jsonl").exists()
    assert versions.diff(dataset.id, large.id).totals == {"added": 2, "removed": 0, "changed": 1}
    assert versions.diff(small.id, large.id).totals == {"added": 2, "removed": 0, "changed": 0}
    later = at_once(large.id, edit(rows[1], "Four?"))
    told = files.read_json(files.dataset_folder(later.id) / "dataset.json")
    assert told["base"] == large.id and numbers(later.id) == numbers(large.id)
    assert get_row(later.id, numbers(later.id)[-1])["added"], "also there it is known which rows were added"
    shutil.rmtree(files.dataset_folder(dataset.id))
    assert load_rows(later.id)


def test_checks_of_a_version_are_those_of_an_import_of_its_rows(dataset: Dataset) -> None:
    """Only the changed rows are looked at again; the findings are as if all had been."""
    rows = numbers(dataset.id, "train")
    new = at_once(dataset.id, edit(rows[0], "Whom 1?", "Write to b@example.org or c@example.org."))
    gone = rows_of_problem(dataset.id, "email_address")[0]
    new = at_once(new.id, {"kind": "delete", "rows": [gone]})
    assert gone not in rows_of_problem(new.id, "email_address")
    assert new.summary["rows"] == new.rows
    for name in ("facts.npy", "facts.json"):
        (files.dataset_folder(dataset.id) / name).unlink()
    slow = at_once(new.id, add("A row more?", "For the facts to be made anew."))
    assert (files.dataset_folder(dataset.id) / "facts.npy").is_file()
    quick = at_once(new.id, add("A row more?", "For the facts to be made anew."))
    kept = ("problems", "summary", "rows", "unchecked_changes")
    assert [getattr(slow, name) for name in kept] == [getattr(quick, name) for name in kept]
    assert rows[0] in rows_of_problem(quick.id, "email_address")
    assert quick.summary and quick.unchecked_changes == 0


def test_in_a_very_large_set_a_small_change_is_checked_by_itself_and_says_so(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rechecking, "ALWAYS_ROWS", 10)
    rows = numbers(dataset.id, "train")
    new = at_once(dataset.id, edit(rows[0], "Whom?", "Write to b@example.org."))
    assert new.unchecked_changes == 1
    addresses = next(one for one in new.problems if one["code"] == "email_address")
    assert addresses["count"] == 5 and addresses["message"].startswith("5 rows hold an e-mail address")
    new = at_once(new.id, {"kind": "delete", "rows": rows_of_problem(new.id, "email_address")[:4]})
    addresses = next(one for one in new.problems if one["code"] == "email_address")
    assert addresses["message"].startswith("1 row holds an e-mail address") and new.unchecked_changes == 2
    copied = get_row(new.id, rows[1])["messages"]
    new = at_once(new.id, {"kind": "add", "messages": copied})
    last = numbers(new.id)[-1]
    repeats = {*rows_of_problem(new.id, "duplicate"), *rows_of_problem(new.id, "leak")}
    assert last not in repeats, "nobody has compared it with the others"
    checked = at_once(new.id, {"kind": "check"})
    assert checked.unchecked_changes == 0 and checked.change == "All rows were checked again."
    assert last in rows_of_problem(checked.id, "duplicate")
    assert load_rows(checked.id) == load_rows(new.id)


def test_a_dataset_of_before_versions_can_be_changed(dataset: Dataset) -> None:
    folder = files.dataset_folder(dataset.id)
    for path in folder.iterdir():
        if path.name not in ("rows.jsonl", "dataset.json", "original"):
            path.unlink()
    usable = load_rows(dataset.id)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in usable))
    old = (
        "id",
        "name",
        "source_name",
        "format",
        "columns",
        "rows",
        "train_rows",
        "held_out_rows",
        "problems",
    )
    old = (*old, "sha256", "created_at", "mapping", "seed")
    told = files.read_json(folder / "dataset.json")
    files.write_json(folder / "dataset.json", {name: told[name] for name in old})
    new = at_once(dataset.id, edit(numbers(dataset.id, "train")[0], "New?"))
    assert (
        new.version == 2 and new.rows == dataset.rows and "email_address" in {p["code"] for p in new.problems}
    )
    rebuild.rebuild()
    database.connect()
    assert [one.version for one in versions.history(dataset.id)] == [2, 1]


def test_a_corrected_answer_is_learned_from_and_never_held_out(dataset: Dataset) -> None:
    second = at_once(dataset.id, add("Two?"))
    new = versions.add_corrected(dataset.id, said("Never asked?", "Better."))
    assert new.parent_id == second.id, "it joins the version that is shown"
    row = load_rows(new.id)[-1]
    assert (row["messages"], row["split"]) == (said("Never asked?", "Better."), "train")
    assert new.change.endswith("an answer corrected in Compare.")
    with pytest.raises(StudioError, match="says exactly this already"):
        versions.add_corrected(new.id, said("Never asked?", "Better."))


@pytest.mark.parametrize("spelled", [str, str.upper, lambda text: f"  {text} !"])
def test_a_corrected_answer_to_what_is_tested_is_refused(
    dataset: Dataset, spelled: Callable[[str], str]
) -> None:
    row = load_rows(dataset.id, "held_out")[0]
    asked = [
        {"role": "system", "content": "Be kind."},
        *said(spelled(row["messages"][0]["content"]), "Better."),
    ]
    with pytest.raises(StudioError, match="kept aside to test on") as caught:
        versions.add_corrected(dataset.id, asked)
    assert f"row {row['row']}" in caught.value.message and "delete row" in caught.value.remedy
    assert versions.history(dataset.id) == [dataset]


def test_a_change_can_be_cancelled(dataset: Dataset) -> None:
    with pytest.raises(child.Cancelled):
        versions.apply(dataset.id, add("Never?"), should_stop=lambda: True)
    assert versions.history(dataset.id) == [dataset] and list((files.root() / "tmp").iterdir()) == []
