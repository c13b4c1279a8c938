"""The figures of the fault campaign: each is a function that does something terrible many times and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One number for the report: `value` as in "61 of 61" or "1.4", its `unit`, and under which conditions."""

    what: str
    value: str
    unit: str = ""
    conditions: str = ""
    ok: bool = True


@dataclass(frozen=True)
class Options:
    """How much is done: `random` moments of random kills from `seed` on, `trials` of every race."""

    random: int = 200
    trials: int = 100
    seed: int = 0


FIGURES: dict[str, Callable[[Options], Iterator[Figure]]] = {}


def figure(
    name: str,
) -> Callable[[Callable[[Options], Iterator[Figure]]], Callable[[Options], Iterator[Figure]]]:
    """Register a function under the name by which `--only` chooses it."""

    def register(function: Callable[[Options], Iterator[Figure]]) -> Callable[[Options], Iterator[Figure]]:
        FIGURES[name] = function
        return function

    return register


def counted(what: str, results: list[bool], unit: str, conditions: str = "") -> Figure:
    """ "N of N" of many trials."""
    return Figure(what, f"{sum(results)} of {len(results)}", unit, conditions, all(results))
