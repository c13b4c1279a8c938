"""Examples from the cache are those that tokenising every row anew would give, to the last bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.datasets import tokens
from jobs.generation.chat import ChatFormat
from jobs.training.examples import Example, Examples, LeftOut, shortened, token_lengths, tokenized
from jobs.training.fingerprint import fingerprint
from jobs.training.packing import begins_with, pack_of, shared_prefix
from jobs.training.reading import drawn, examples_of, split
from storage import files
from storage.errors import StudioError
from tests.jobs.datasets.test_tokens import changed, dataset, turns
from tests.jobs.training.conftest import rows_of


def rows_with_all_kinds() -> list[dict[str, Any]]:
    """Sixty rows: of several turns, with a long system text, without an answer, with an answer far behind."""
    rows: list[dict[str, Any]] = [{**row, "split": "train"} for row in rows_of(60)]
    for i in range(0, 60, 4):
        rows[i]["messages"] = turns(
            "the fox", "brown", "and the user " * i, "answers JSON", system="Be quick."
        )
    for i in range(3, 60, 10):
        rows[i]["split"] = "held_out"
    rows[5]["messages"] = turns("no answer")
    rows[6]["messages"] = turns("x" * 200, "far")
    return rows


def read_from_cache(rows: list[dict[str, Any]], model: Path) -> tuple[Examples, list[LeftOut]]:
    dataset("d1", rows)
    assert tokens.make("d1", model).made == 60
    found = tokens.make("d1", model)
    assert found.made == 0
    return examples_of(found, split(found, "d1", 0.1)[0])


def same(first: Any, second: Any) -> bool:
    return [(one.row, one.token_ids.tolist(), one.learned.tolist()) for one in first] == [
        (one.row, one.token_ids.tolist(), one.learned.tolist()) for one in second
    ]


@pytest.mark.parametrize("max_tokens", [None, 24, 64])
def test_examples_from_the_cache_and_from_scratch_are_the_same(
    home: Path, tiny_model: Path, max_tokens: int | None
) -> None:
    rows = rows_with_all_kinds()
    read, left_out = read_from_cache(rows, tiny_model)
    plain, plain_left_out = tokenized(
        [row for row in rows if row["split"] == "train"], ChatFormat.load(tiny_model)
    )
    assert same(read, plain) and left_out == plain_left_out == [LeftOut(6, "There is no answer to learn.")]
    kept, too_long = shortened(read, max_tokens)
    plain_kept, plain_too_long = shortened(plain, max_tokens)
    assert same(kept, plain_kept) and too_long == plain_too_long
    assert token_lengths(kept) == [len(one.token_ids) for one in plain_kept]
    assert bool(too_long) == (max_tokens is not None)
    parts = [fingerprint({}, [[0]], one, (), {}) for one in (kept, list(plain_kept))]
    assert parts[0] == parts[1]
    for ours, theirs in zip(
        vars(pack_of(kept, range(9), "cpu")).values(),
        vars(pack_of(plain_kept, range(9), "cpu")).values(),
        strict=True,
    ):
        if isinstance(ours, torch.Tensor):
            assert torch.equal(ours, theirs)


def test_a_fingerprint_is_that_of_the_states_that_were_saved_before(tiny_model: Path) -> None:
    # So that a run that was saved by an older studio goes on.
    rows = [Example(1, [5, 70_000, 3], [False, True, True]), Example(2, [1], [True])]
    assert fingerprint({}, [], rows, [], {})["the examples"] == (
        "320f377a2b169aa4c21e1a8bb3c49115a77efeba0db5eedc826d63f93ee6394d"
    )


def test_a_versions_rows_stand_in_their_places_and_never_change_sides(home: Path, tiny_model: Path) -> None:
    rows = rows_with_all_kinds()
    dataset("d1", rows)
    changes = [
        {"row": 2, "messages": turns("another", "text"), "split": "train"},
        {"row": 4, "gone": True},
        {"row": 61, "messages": turns("added", "row"), "split": "train", "added": True},
    ]
    version = changed("v2", "d1", changes)
    found = tokens.make(version, tiny_model)
    train, held_out = (examples_of(found, places)[0] for places in split(found, version, 0.1))
    assert train.rows.tolist() == [
        row["row"] for row in rows if row["split"] == "train" and row["row"] != 6
    ] + [61]
    assert held_out.rows.tolist() == [14, 24, 34, 44, 54]
    now = {row["row"]: row for row in [*rows, *changes]}
    plain, _ = tokenized([now[row] for row in train.rows.tolist()], ChatFormat.load(tiny_model))
    assert same(train, plain)
    assert same(train[50:], plain[50:]) and same([train[-1]], [plain[-1]])
    with pytest.raises(IndexError):
        train[len(train)]


def test_rows_of_which_nothing_can_be_learned_end_before_the_start(home: Path, tiny_model: Path) -> None:
    dataset("d1", [{"row": row, "messages": turns("no answer"), "split": "train"} for row in (1, 2)])
    found = tokens.make("d1", tiny_model)
    with pytest.raises(StudioError, match="None of the 2 rows can be learned"):
        examples_of(found, split(found, "d1", 0.1)[0])


def prefix_by_trying(examples: list[Example], least_saved: float = 0.1) -> list[int]:
    """The shared prefix, searched for in another way: by trying every beginning of every example."""
    best: list[int] = []
    most = 0
    for example in examples:
        for length in range(1, len(example.token_ids)):
            prefix = example.token_ids[:length].tolist()
            count = sum(begins_with(other, prefix) for other in examples)
            if 2 * count > len(examples) and length * (count - 1) > most:
                best, most = prefix, length * (count - 1)
    return best if most >= least_saved * sum(len(one.token_ids) for one in examples) else []


def test_the_shared_prefix_is_the_one_that_saves_most() -> None:
    rng = random.Random(0)
    found = 0
    for _ in range(150):
        system = [rng.randrange(1, 4) for _ in range(rng.randrange(1, 9))]
        examples = []
        for row in range(rng.randrange(1, 12)):
            begin = system[: rng.randrange(len(system) + 1)] if rng.random() < 0.4 else system
            ids = [*begin, *(rng.randrange(1, 4) for _ in range(rng.randrange(1, 9)))]
            answer = rng.randrange(1, len(ids) + 1)
            examples.append(Example(row, ids, [i >= len(ids) - answer for i in range(len(ids))]))
        expected = prefix_by_trying(examples)
        assert shared_prefix(examples) == expected
        # The same from two files.
        half = len(examples) // 2
        parts = [Examples.of(examples[:half]), Examples.of(examples[half:])]
        joined = Examples(
            [parts[0].sources[0], parts[1].sources[0]],
            np.repeat(np.array([0, 1], np.uint8), [half, len(examples) - half]),
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("starts", "lengths", "rows")
            ),
        )
        assert same(joined, examples) and shared_prefix(joined) == expected
        found += bool(expected)
    assert found > 30


def test_a_later_run_takes_the_tokens_from_before(home: Path, tiny_model: Path) -> None:
    from jobs.base_models import catalogue
    from jobs.training import job
    from tests.jobs.training.row_engine import Recorder

    dataset("d1", rows_with_all_kinds())
    spec = {
        "job_id": "j1", "attempt": 1, "kind": "training", "dataset_id": "d1", "rank": 4, "device": "cpu",
        "base_model_id": catalogue.add_custom(str(tiny_model)).id, "name": "n",
        "settings": {"max_steps": 2, "precision": "fp32"},
    }  # fmt: skip
    first, second = Recorder(), Recorder()
    results = [job.run({**spec, "job_id": name}, one) for name, one in (("j1", first), ("j2", second))]
    assert any("60 rows tokenised" in line for line in first.lines)
    assert any("were there from before" in line for line in second.lines)
    assert first.all_of("loss") == second.all_of("loss") and first.all_of("loss")
    own, other = (
        (files.attempt_folder(name, 1) / "adapter" / "adapter_model.safetensors").read_bytes()
        for name in ("j1", "j2")
    )
    assert own == other and results[0]["rows_left_out"] == results[1]["rows_left_out"] != []


def test_a_share_of_the_rows_is_a_fixed_draw_that_lies_within_every_larger_one() -> None:
    places = np.arange(100, 300, dtype=np.int64)
    quarter, half = (drawn(places, share) for share in (0.25, 0.5))
    assert len(quarter) == 50 and len(half) == 100 and set(quarter) < set(half) < set(places)
    assert (quarter == drawn(places, 0.25)).all() and (quarter == np.sort(quarter)).all()
    assert (drawn(places, 1.0) == places).all() and len(drawn(places[:3], 0.01)) == 1
    assert quarter.max() > 250 and quarter.min() < 150, "from all over the rows"
