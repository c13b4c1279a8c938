"""Base against base: the real starter model answers the same prompts again and again, and nothing must be found."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from jobs.datasets import samples
from jobs.evaluation import measures, rules, tone, verdict
from jobs.evaluation.statistics import paired_difference, together

pytestmark = pytest.mark.starter

ROWS, DRAWS, TOKENS, REPEATS = 16, 5, 24, 60
ALARMS = ("works", "prompting_does_as_well", "worse")
# Of 60 repeats at the stated level of 5 %, more than this come by chance once in 300 times (binomial).
MOST_ALARMS = 8


def conversations() -> list[tuple[str, str]]:
    """(question, wanted answer) of the sample set for a tone."""
    lines = samples.find("tone").path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line)["messages"] for line in lines]
    return [(turns[-2]["content"], turns[-1]["content"]) for turns in rows]


@pytest.fixture(scope="module")
def answered(starter_model: Path) -> list[list[str]]:
    """Five answers of the base model, drawn at temperature 1, to each of 32 questions."""
    from jobs.generation.engine import Engine, Request

    engine = Engine(starter_model, "cpu")
    asked = [
        Request("base", {}, [{"role": "user", "content": question}])
        for question, _ in conversations()[: 2 * ROWS]
    ]
    texts = [[""] * DRAWS for _ in asked]
    for draw in range(DRAWS):
        for deltas in engine.generate(asked, max_new_tokens=TOKENS, temperature=1.0, seed=draw):
            for delta in deltas:
                texts[delta.row][draw] += delta.text
    return texts


def test_base_against_base_is_an_effect_no_oftener_than_stated(answered: list[list[str]]) -> None:
    told, held = conversations()[ROWS : 2 * ROWS], conversations()[:ROWS]
    prompts, references = [question for question, _ in held], [wanted for _, wanted in held]
    draw = random.Random(1)
    mined = rules.mine(conversations()[ROWS:])
    codes, claims = [], 0
    for _ in range(REPEATS):
        drawn = [draw.sample(texts, 2) for texts in answered[:ROWS]]
        of_training = [draw.choice(texts) for texts in answered[ROWS:]]
        judged = rules.judged(
            mined,
            held,
            [(question, wanted, text) for (question, wanted), text in zip(told, of_training, strict=True)],
        )
        counting = [one.rule for one in judged if one.counts]
        sides = {side: [pair[place] for pair in drawn] for place, side in enumerate(("base", "adapted"))}
        sounds = tone.tone(references, sides)
        passed = {
            side: [
                [rule.passes(text, wanted, question) for rule in counting]
                for text, (question, wanted) in zip(texts, held, strict=True)
            ]
            for side, texts in sides.items()
        }
        claims += claims_a_rule(passed)
        found = verdict.verdict(
            verdict.Evidence(
                passed=passed,
                rules=[rule.words for rule in counting],
                measures=measures.of(sides, references, prompts) + ([sounds.measure()] if sounds else []),
                tokens_per_call={"base": 40.0, "adapted": 40.0},
                tone_is_reliable=bool(sounds and sounds.is_reliable),
            )
        )
        codes.append(found.code)
    assert len(counting) >= 2  # there was something to be wrong about
    assert sum(code in ALARMS for code in codes) <= MOST_ALARMS, codes
    assert claims <= MOST_ALARMS, "the table under the verdict claims no more than it"


def claims_a_rule(passed: dict[str, list[list[bool]]]) -> bool:
    """Whether any rule is said to be kept oftener or more seldom by one of the sides."""
    kept = zip(*(np.asarray(passed[side], dtype=float).T for side in ("adapted", "base")), strict=True)
    return any(one.is_real for one in together([paired_difference(*pair) for pair in kept]))


def test_the_same_answers_twice_are_never_an_effect(answered: list[list[str]]) -> None:
    texts = [row[0] for row in answered[:ROWS]]
    passed = [[bool(np.random.default_rng(len(text)).integers(2))] for text in texts]
    same = verdict.Evidence({"base": passed, "adapted": passed}, ["x"], [], {}, same_text=True)
    assert verdict.verdict(same).code == "no_effect"
