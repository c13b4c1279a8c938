"""The rules as a written instruction: the fair rival of an adapter is to ask well."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.evaluation.rules.rule import Rule


def instruction(rules: Sequence[Rule]) -> str:
    """What one would tell the base model, rule by rule; "" where there is nothing to say."""
    said = dict.fromkeys(_ended(rule.imperative()) for rule in rules)
    return " ".join(sentence for sentence in said if sentence)


def _ended(sentence: str) -> str:
    """Without a second period behind a quotation that ends with one."""
    return sentence.removesuffix(".") if sentence.endswith((".”.", "!”.", "?”.")) else sentence
