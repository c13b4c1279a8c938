"""Rules that say again what another rule says: a list of three items has three lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.evaluation.rules.rule import Parameters, Rule
from jobs.evaluation.rules.texts import plain


def told_once(found: Sequence[Rule]) -> list[Rule]:
    """The rules in their order, without those that another one says already."""
    by_kind = {rule.kind: rule.parameters for rule in found}
    shapes = [rule.parameters for rule in found if rule.kind == "line_shape"]
    return [rule for rule in found if not _is_told(rule, by_kind, shapes)]


def _is_told(rule: Rule, found: Mapping[str, Parameters], shapes: Sequence[Parameters]) -> bool:
    """Whether other rules say it; `found` are the parameters by kind, `shapes` those of all shapes of lines."""
    if rule.kind == "lines":
        return "items" in found or "parts" in found
    if rule.kind == "line_shape":
        return "parts" in found and "{text}" in rule.parameters["shape"]
    if rule.kind == "length_band":
        return any(shape["place"] == "whole" and "{text}" not in shape["shape"] for shape in shapes)
    if rule.kind not in ("begins_with", "ends_with", "contains"):
        return False
    said = plain(rule.parameters["texts"][0])
    labels = list(map(plain, found["parts"]["labels"])) if "parts" in found else []
    if rule.kind == "contains":
        edges = [plain(text) for kind in ("begins_with", "ends_with") for text in _texts(found, kind)]
        return any(said in text for text in (*edges, *labels, *(plain(one["shape"]) for one in shapes)))
    if rule.kind == "begins_with":
        told = [plain(shape["shape"]) for shape in shapes if shape["place"] != "last"] + labels[:1]
        return any(text.startswith(said.rstrip(":")) for text in told)
    return any(plain(shape["shape"]).endswith(said) for shape in shapes if shape["place"] != "first")


def _texts(found: Mapping[str, Parameters], kind: str) -> Sequence[str]:
    return found[kind]["texts"] if kind in found else []
