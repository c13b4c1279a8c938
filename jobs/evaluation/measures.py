"""What is measured beside the rules: word for word, closeness, whether answers fit their questions, held-out loss."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.evaluation.statistics import Interval, mean_interval, paired_difference, ratio_interval, wilson
from jobs.evaluation.symptoms import words_of

# An answer is held against so many other rows' wanted answers; more tell no more, only later.
OTHERS = 8
# Wanted answers closer to one another than this (1 - chrF) are nearly the same whatever was asked.
OWN_AT_LEAST = 0.1

# side → one text for each row
Answers = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Measure:
    """One number for every row and side; `unit` is "share" (0-1), "score" (0-100) or "nats" (per token)."""

    name: str
    words: str
    unit: str
    better: str
    scores: Mapping[str, Sequence[float]]
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """The measure as a card holds it: means with intervals, and adapted against base."""
        return {
            "name": self.name,
            "words": self.words,
            "unit": self.unit,
            "better": self.better,
            "note": self.note,
            "sides": {side: _interval(scores, self.unit).as_json() for side, scores in self.scores.items()},
            "difference": difference_json(self.scores),
        }


def of(answers: Answers, references: Sequence[str], prompts: Sequence[str]) -> list[Measure]:
    """What can be measured of texts alone; empty without rows."""
    if not references:
        return []
    found = [
        Measure(
            "exact_match",
            "word for word the wanted answer",
            "share",
            "higher",
            {
                side: [float(text.strip() == wanted.strip()) for text, wanted in _pairs(texts, references)]
                for side, texts in answers.items()
            },
        ),
        Measure(
            "chrf",
            "closeness to the wanted answer (chrF)",
            "score",
            "higher",
            {side: [_chrf(*pair) for pair in _pairs(texts, references)] for side, texts in answers.items()},
            "Counts the short runs of letters that both texts share; 100 is the same text (Popović 2015).",
        ),
    ]
    return [*found, *filter(None, (fits(answers, references, prompts), about(answers, prompts)))]


def fits(
    answers: Answers, references: Sequence[str], prompts: Sequence[str], seed: int = 0
) -> Measure | None:
    """How much closer each answer is to its own row's wanted answer than to those of other rows.

    None where that says nothing: the wanted answers are alike whatever is asked, or the questions are the same.
    """
    rows = len(references)
    if rows < 3 or len(set(prompts)) < 0.9 * rows:
        return None
    draw = random.Random(seed)
    others = [draw.sample([i for i in range(rows) if i != row], min(OTHERS, rows - 1)) for row in range(rows)]

    def scores(texts: Sequence[str]) -> list[float]:
        return [
            _chrf(text, references[row])
            - sum(_chrf(text, references[other]) for other in others[row]) / len(others[row])
            for row, text in enumerate(texts)
        ]

    if sum(scores(references)) / rows < 100 * OWN_AT_LEAST:
        return None
    return Measure(
        "fit",
        "fits its own question",
        "score",
        "higher",
        {side: scores(texts) for side, texts in answers.items()},
        "How much closer an answer is to the wanted one of its own question than to those of other questions.",
    )


def about(answers: Answers, prompts: Sequence[str]) -> Measure | None:
    """How many more words each answer shares with its own question than with other questions.

    None where the questions are the same. With `fits`, this tells an adapter that has learned a form without what
    belongs into it: a label shares no word with its question, but is the right one; a free answer may be far from
    the wanted one, but speaks of what was asked.
    """
    if len(prompts) < 3 or len(set(prompts)) < 0.9 * len(prompts):
        return None
    asked = [_telling(prompt) for prompt in prompts]

    def scores(texts: Sequence[str]) -> list[float]:
        found = []
        for row, said in enumerate(map(_telling, texts)):
            others = [_shared(said, question) for place, question in enumerate(asked) if place != row]
            found.append(100 * (_shared(said, asked[row]) - sum(others) / len(others)))
        return found

    return Measure(
        "about",
        "speaks of its own question",
        "score",
        "higher",
        {side: scores(texts) for side, texts in answers.items()},
        "How many more of a hundred words an answer shares with its own question than with the other ones.",
    )


def loss(likelihoods: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any] | None:
    """How surprised each side is by the wanted answers, as a card holds it; None without a token.

    `likelihoods` has for each side one {"nats", "tokens"} a row.
    """
    sides: dict[str, Interval] = {}
    for side, rows in likelihoods.items():
        if sum(row["tokens"] for row in rows) > 0:
            sides[side] = ratio_interval([row["nats"] for row in rows], [row["tokens"] for row in rows])
    if not sides:
        return None
    per_row = {side: [row["nats"] / max(row["tokens"], 1) for row in likelihoods[side]] for side in sides}
    return {
        "name": "held_out_loss",
        "words": "surprise at the wanted answers (held-out loss)",
        "unit": "nats",
        "better": "lower",
        "note": "Per token; what training itself makes smaller. Lower is better.",
        "sides": {side: interval.as_json() for side, interval in sides.items()},
        "difference": difference_json(per_row),
    }


def difference_json(scores: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """Adapted minus base; None where one of them is missing."""
    if "adapted" not in scores or "base" not in scores:
        return None
    return paired_difference(scores["adapted"], scores["base"]).as_json()


def _interval(scores: Sequence[float], unit: str) -> Interval:
    """The mean with its interval; of yes and no it is Wilson's, which knows that none of few is not never."""
    if unit == "share" and all(score in (0.0, 1.0) for score in scores):
        return wilson(sum(scores), len(scores))
    return mean_interval(scores)


def _pairs(texts: Sequence[str], references: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(texts, references, strict=True))


def _telling(text: str) -> frozenset[str]:
    """The words of a text but for short ones, which are in every text; where words are characters, all."""
    return frozenset(word for word in words_of(text) if len(word) > 2 or not word.isascii())


def _shared(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, min(len(one), len(other)))


def _chrf(answer: str, reference: str) -> float:
    """chrF in 0-100, of one answer against one reference."""
    from sacrebleu.metrics.chrf import CHRF

    global _metric
    if _metric is None:
        _metric = CHRF()
    if not answer.strip() or not reference.strip():
        return 100.0 if answer.strip() == reference.strip() else 0.0
    return float(_metric.sentence_score(answer, [reference]).score)


_metric: Any = None
