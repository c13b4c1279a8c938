"""What is foreseen follows from what was measured, and measuring leaves no trace."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from jobs.training import rehearsal
from jobs.training.examples import Example
from jobs.training.rehearsal import Longest, Watch, rehearse
from tests.jobs.training.row_engine import SETTINGS, row_engine

CPU = torch.device("cpu")


def test_the_longest_rows_are_rehearsed_and_forgotten(tiny_model: Path, examples: list[Example]) -> None:
    engine = row_engine(tiny_model, SETTINGS, pack_tokens=100)
    engine.model.peft_config["default"].lora_dropout = 0.1
    before, random_numbers = engine.weights.master.clone(), torch.get_rng_state()
    seen: list[tuple[int, ...]] = []
    learn = engine.learn
    engine.learn = lambda pack, share: (seen.append(pack.rows), torch.rand(1), learn(pack, share))[2]  # type: ignore[method-assign]
    longest = rehearse(engine, examples)
    assert len(seen) == 2 and longest.seconds > 0
    lengths = sorted((len(example.token_ids) for example in examples), reverse=True)
    assert longest.tokens == sum(len(examples[row].token_ids) for row in seen[0])
    assert len(examples[seen[0][0]].token_ids) == lengths[0]
    # No row that was left out is longer than one that was taken.
    assert min(len(examples[row].token_ids) for row in seen[0]) >= lengths[len(seen[0])]
    assert not engine.weights.gradient.any() and torch.equal(engine.weights.master, before)
    assert torch.equal(torch.get_rng_state(), random_numbers)


def test_time_is_foreseen_from_warm_steps_by_their_tokens() -> None:
    watch = Watch([100, 200, 100, 100, 300, 300], look_tokens=60, looks=3, longest_row=50, device=CPU)
    first = watch.step(100, 50.0, 100, 100)  # it warmed up
    assert first and first.at_step == 1 and first.tokens_per_second == pytest.approx(2.0)
    assert first.seconds == pytest.approx(1000 * 0.5 + 3 * 60 * 0.5 / 3, abs=1)
    watch.look(2.0)
    assert watch.step(200, 9.0, 100, 100) is None
    second = watch.step(100, 1.0, 100, 100)  # ten seconds are watched: enough
    assert second and second.at_step == 3 and second.tokens_per_second == pytest.approx(30.0)
    assert second.seconds == pytest.approx(700 / 30 + 2 * 2.0, abs=1)
    assert watch.step(100, 99.0, 100, 100) is None


def test_short_steps_are_watched_for_three() -> None:
    watch = Watch([10] * 9, look_tokens=0, looks=0, longest_row=10, device=CPU)
    news = [watch.step(10, 0.1, 10, 10) for _ in range(6)]
    assert [bool(one) for one in news] == [True, False, False, True, False, False]


def test_a_rehearsed_run_is_foreseen_before_its_first_step() -> None:
    watch = Watch([100, 100], look_tokens=0, looks=0, longest_row=10, device=CPU)
    assert watch.rehearsed(Longest(50, 1.0)).seconds == pytest.approx(4.0, abs=0.5)
    assert watch.step(100, 9.0, 50, 50) is None


def test_the_error_is_measured_against_what_the_run_took() -> None:
    watch = Watch([10, 10], look_tokens=0, looks=0, longest_row=10, device=CPU)
    watch.step(10, 0.3, 10, 10)
    time.sleep(0.2)
    ended = watch.ended()
    assert ended and ended.seconds_error is not None and ended.seconds == pytest.approx(0.3, abs=0.1)
    assert ended.seconds_error == pytest.approx(ended.seconds / 0.2 - 1, abs=0.3)
    assert Watch([1], 0, 0, 1, CPU).ended() is None


def test_the_peak_of_a_process_begins_anew_and_grows_with_the_largest_pack() -> None:
    torch.ones(64 << 20, dtype=torch.uint8).sum()
    before = rehearsal.peak_bytes(CPU)
    watch = Watch([400, 400], look_tokens=0, looks=0, longest_row=100, device=CPU)
    start = rehearsal.peak_bytes(CPU)
    assert start < before
    torch.ones(32 << 20, dtype=torch.uint8).sum()
    grown = rehearsal.peak_bytes(CPU) - start
    assert grown > 30 << 20
    foreseen = watch.step(100, 1.0, 100, 1000)
    # Packs of this run may hold all 400 tokens of a step: four times as many as were seen.
    assert foreseen and foreseen.peak_bytes == pytest.approx(start + 4 * grown, rel=0.02)
