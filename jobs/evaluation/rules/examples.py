"""The training rows in which habits are looked for, and how many of them make one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from jobs.datasets.checks.languages import language_of
from jobs.datasets.checks.texts import normal
from jobs.evaluation.rules import texts
from jobs.evaluation.statistics import wilson

Sample = tuple[str, str]
# A habit is a habit when nearly every wanted answer has it.
SHARE = 0.9
# And when so many have it that it is no accident: the lower end of the share's 95 % interval (Wilson).
# All of 10, 14 of 14 or 19 of 20 reach it; 8 of 8, 9 of 10 and 18 of 20 do not.
SURELY = 0.72
# What never happens is a habit only where there were many chances for it.
FEWEST_FOR_NEVER = 20
SELDOM = 0.02
# Where style could be told: shorter answers have none.
FEWEST_WORDS_OF_PROSE = 5


def surely(count: int, total: int) -> bool:
    """Whether so many of so many are nearly all of them, and not by chance."""
    return total > 0 and count >= SHARE * total and wilson(count, total).low >= SURELY


@dataclass(frozen=True)
class Examples:
    """Rows (prompt, answer) and what several kinds of rules want to know of them all."""

    rows: Sequence[Sample]

    @cached_property
    def answers(self) -> list[str]:
        """The answers, in the order of the rows."""
        return [answer.strip() for _, answer in self.rows]

    @cached_property
    def language(self) -> str:
        """The language that nearly all answers are in, as far as each tells; "" where there is none."""
        found = Counter(language_of(answer, normal(answer)) for answer in self.answers[:500])
        unsure = found.pop("", 0)
        if not found or found.total() < max(3, 0.2 * (unsure + found.total())):
            some = " ".join(self.answers[:20])
            return language_of(some, normal(some))
        name, count = found.most_common(1)[0]
        return name if count >= SHARE * found.total() else ""

    @cached_property
    def words(self) -> float:
        """How many words half of the answers have at least."""
        return median(texts.length_of(answer) for answer in self.answers)

    @cached_property
    def one_line(self) -> bool:
        """Whether nearly all answers are a single line."""
        return self.share(lambda answer: "\n" not in answer) >= SHARE

    @cached_property
    def prose(self) -> bool:
        """Whether the answers are sentences, so that the way they are written can be a habit."""
        ended = self.share(texts.ends_sentence)
        return self.words >= FEWEST_WORDS_OF_PROSE and ended >= 0.8

    def count(self, test: Callable[[str], Any]) -> int:
        """How many answers pass a test."""
        return sum(1 for answer in self.answers if test(answer))

    def share(self, test: Callable[[str], Any]) -> float:
        """Which share of the answers passes a test."""
        return self.count(test) / len(self.answers)

    def usual(self, test: Callable[[str], Any]) -> bool:
        """Whether nearly all answers pass a test, and not by chance."""
        return surely(self.count(test), len(self.answers))

    def never(self, test: Callable[[str], Any]) -> bool:
        """Whether hardly any of many answers passes a test."""
        return len(self.answers) >= FEWEST_FOR_NEVER and self.share(test) <= SELDOM
