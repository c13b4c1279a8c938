"""What the page says of lengths and lost tokens is what training would read and lose."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.base_models import catalogue
from jobs.datasets import child, lengths, token_files, tokens
from jobs.generation.chat import ChatFormat, TokenizedExample
from jobs.training.examples import shortened, tokenized
from jobs.training.settings import TrainingSettings, fitted
from storage import files
from storage.errors import StudioError
from tests.jobs.datasets.test_tokens import REFUSING, changed, dataset, turns

ROWS: list[dict[str, Any]] = [
    {"row": 1, "messages": turns("the quick", "fox"), "split": "train"},
    {"row": 2, "messages": turns("q" * 100, "a" * 20), "split": "train"},
    {"row": 3, "messages": turns("the", "fox " * 40), "split": "held_out"},
    {"row": 4, "messages": turns("b" * 5, "c" * 30, "the", "d" * 40), "split": "train"},
    {"row": 5, "messages": turns("left"), "split": "left_out", "code": "one_sided", "reason": "no answer"},
]


def used(example: TokenizedExample) -> int:
    """Up to the last learned token."""
    return max(place + 1 for place, learned in enumerate(example.learned) if learned)


@pytest.fixture
def model_id(home: Path, tiny_model: Path, tmp_path: Path) -> str:
    shutil.copytree(tiny_model, tmp_path / "model")
    return catalogue.add_custom(str(tmp_path / "model")).id


@pytest.fixture
def counted(home: Path, model_id: str) -> str:
    id = dataset("d1", ROWS)
    lengths.count(id, model_id)
    return id


def chat_of(model_id: str) -> ChatFormat:
    folder = catalogue.find(model_id).folder
    assert folder is not None
    return ChatFormat.load(folder)


def test_counts_are_those_of_each_usable_row(counted: str, model_id: str) -> None:
    found = lengths.counts(counted, model_id)
    assert found is not None
    alone = [chat_of(model_id).example(row["messages"]) for row in ROWS[:4]]
    assert found.rows.tolist() == [1, 2, 3, 4] and found.held_out.tolist() == [False, False, True, False]
    assert found.tokens.tolist() == list(map(used, alone))
    assert found.learned.tolist() == [sum(one.learned[1:]) for one in alone]


def test_nothing_is_counted_before_somebody_asks_or_without_the_model(home: Path, model_id: str) -> None:
    id = dataset("d1", ROWS)
    assert lengths.counts(id, model_id) is None and lengths.problems(id, model_id) == []
    assert lengths.counts(id, catalogue.STARTER_ID) is None
    with pytest.raises(StudioError, match="on this machine"):
        lengths.count(id, catalogue.STARTER_ID)
    with pytest.raises(StudioError, match="gone"):
        lengths.counts("nowhere", model_id)


def test_small_sets_are_counted_at_once_and_larger_ones_in_a_process_that_reports(
    home: Path, model_id: str
) -> None:
    small = dataset("d1", ROWS)
    assert lengths.counts_at_once(small, model_id) is not None
    many = [{"row": n, "messages": turns(f"the {n}", "fox " * 20), "split": "train"} for n in range(1, 3000)]
    large = dataset("d2", many)
    assert lengths.counts_at_once(large, model_id) is None
    told: list[tuple[str, int | None, int | None]] = []
    found = lengths.count(large, model_id, lambda *said: told.append(said))
    assert len(found.rows) == 2999
    assert told and {(words, total) for words, _, total in told} == {("Counting tokens", 2999)}
    again = lengths.counts(large, model_id)
    assert again is not None and again.tokens.tolist() == found.tokens.tolist()
    # A version of it has few changes, which are soon counted.
    version = changed("v2", large, [{"row": 7, "gone": True}, {**many[7], "messages": turns("a", "b")}])
    later = lengths.counts_at_once(version, model_id)
    assert later is not None and len(later.rows) == 2998
    assert not list((files.root() / "tmp").iterdir())


def test_a_cancelled_count_leaves_nothing(home: Path, model_id: str) -> None:
    many = [{"row": n, "messages": turns("the", "fox " * 20), "split": "train"} for n in range(1, 3000)]
    with pytest.raises(child.Cancelled):
        lengths.count(dataset("d1", many), model_id, should_stop=lambda: True)
    assert not token_files.root().exists() and not list((files.root() / "tmp").iterdir())


@pytest.mark.parametrize("max_tokens", [16, 40, 60, 100, None])
def test_what_is_lost_is_what_training_loses(counted: str, model_id: str, max_tokens: int | None) -> None:
    chat = chat_of(model_id)
    limit = lengths.limit(counted, model_id, max_tokens)
    whole = [chat.example(row["messages"]) for row in ROWS[:4]]
    read = tokenized([row for row in ROWS if row["split"] == "train"], chat)[0]
    asked = TrainingSettings(max_tokens=max_tokens)
    assert limit == fitted(asked, [len(one.token_ids) for one in read], context_tokens=512).max_tokens
    kept, left_out = shortened(tokenized(ROWS[:4], chat)[0], limit)
    found = {problem.code: problem for problem in lengths.problems(counted, model_id, max_tokens)}
    long = [row["row"] for row, one in zip(ROWS, whole, strict=False) if used(one) > limit]
    assert (found["too_long"].rows if long else []) == long == ([] if "too_long" not in found else long)
    if long:
        tokens_of = sum(used(whole[row - 1]) for row in long)
        lost = tokens_of - limit * len(long)
        learned = sum(sum(one.learned[1:]) for one in whole) - sum(one.supervised_tokens for one in kept)
        assert f"({limit} tokens): {lost} tokens of {tokens_of} are cut" in found["too_long"].message
        assert (f"{learned} of them of answers" if learned else "none of them") in found["too_long"].message
    nothing = found.get("nothing_to_learn")
    assert (nothing.rows if nothing else []) == [one.row for one in left_out]
    if nothing:
        assert nothing.message == (
            f"{len(left_out)} of 4 rows contribute no loss: {len(left_out)} "
            f"{'answer begins' if len(left_out) == 1 else 'answers begin'} after {limit} tokens."
        )
        assert (nothing.severity, nothing.fix_label) == ("warning", "Leave out")


def test_the_models_own_limit_counts_and_is_named(home: Path, model_id: str) -> None:
    id = dataset(
        "d1", [{"row": 1, "messages": turns("the", "fox " * 600), "split": "train"}, ROWS[0] | {"row": 2}]
    )
    lengths.count(id, model_id)
    (found,) = lengths.problems(id, model_id, 4000)
    assert found.rows == [1] and "longer than this model reads (512 tokens)" in found.message
    assert "a base model that reads more" in found.fix


def test_a_set_with_nothing_to_learn_at_all_is_an_error(home: Path, model_id: str) -> None:
    id = dataset("d1", [{**ROWS[1], "row": row} for row in (1, 2, 3)])
    lengths.count(id, model_id)
    found = {problem.code: problem for problem in lengths.problems(id, model_id, 16)}["nothing_to_learn"]
    assert found.message.startswith("0 of 3 rows contribute loss: 3 answers begin after 16 tokens")
    assert (found.severity, found.rows, found.fix_label) == ("error", [1, 2, 3], "")


def test_rows_that_the_template_refuses_teach_nothing_and_its_words_are_said(
    home: Path, model_id: str
) -> None:
    folder = catalogue.find(model_id).folder
    assert folder is not None
    (folder / "chat_template.jinja").write_text(
        REFUSING + "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    id = dataset("d1", [*ROWS[:2], {"row": 3, "messages": turns("a", "b", system="S"), "split": "train"}])
    lengths.count(id, model_id)
    (found,) = lengths.problems(id, model_id)
    assert (found.code, found.rows) == ("nothing_to_learn", [3])
    assert "1 of 3 rows contribute no loss: 1 row is refused" in found.message
    assert "No system text, please." in found.message


@pytest.mark.parametrize("how", ["evicted", "damaged"])
def test_counts_of_tokens_that_went_are_made_again(counted: str, model_id: str, how: str) -> None:
    folder = catalogue.find(model_id).folder
    assert folder is not None and lengths.counts(counted, model_id) is not None
    if how == "evicted":
        token_files.keep_to(0)
    else:
        (key,) = tokens.keys(counted, folder)
        (token_files.root() / key / "learned").write_bytes(b"")
    lengths._problems.cache_clear()
    assert lengths.problems(counted, model_id, 16) == []
    assert lengths.counts(counted, model_id) is None
    lengths.count(counted, model_id)
    assert lengths.problems(counted, model_id, 16) != []
