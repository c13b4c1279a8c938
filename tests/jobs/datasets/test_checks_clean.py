"""Nothing is said about sets that are clean, whatever their character."""

from __future__ import annotations

from random import Random

import pytest

from jobs.datasets import samples
from jobs.datasets.checks import Checker
from tests.jobs.datasets import clean_sets


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", clean_sets.SETS)
def test_clean_sets_raise_nothing(name: str, seed: int) -> None:
    checker = Checker()
    for line in clean_sets.lines(clean_sets.SETS[name](Random(seed))):
        checker.see(line)
    assert [(p.code, p.rows, p.message) for p in checker.problems()] == []


@pytest.mark.parametrize("sample", samples.SAMPLES, ids=lambda sample: sample.id)
def test_the_sample_sets_raise_nothing(sample: samples.Sample) -> None:
    checker = Checker()
    for line in clean_sets.lines(clean_sets.sample_set(sample.id)):
        checker.see(line)
    assert [(p.code, p.rows) for p in checker.problems()] == []
