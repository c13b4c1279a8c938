"""The scorecard from its answers: measured once, and counted again whenever the rules change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from jobs.evaluation import measures, rules, tone, verdict
from jobs.evaluation.held_out import HeldOutRow
from jobs.evaluation.measures import Measure
from jobs.evaluation.rules import Judged, Rule
from jobs.evaluation.statistics import holm, paired_difference, wilson
from jobs.serving.schema import SideAnswer
from jobs.serving.sides import shown_label
from storage.adapters import Adapter
from storage.plans import Plan

VERSION = 3

Card = dict[str, Any]
# side → one answer for each row
BySide = Mapping[str, Sequence[SideAnswer]]
# side → how many training examples stood before each row's question
Examples = Mapping[str, Sequence[int]]
# Training rows, and what the base model answered to each.
Training = Sequence[tuple[HeldOutRow, str]]


def measured(
    rows: Sequence[HeldOutRow],
    answered: BySide,
    training: Training,
    likelihoods: Mapping[str, Sequence[Mapping[str, float]]],
    examples: Examples | None = None,
) -> Card:
    """The part of a card that stays as it is whatever the rules are.

    Args:
        rows: the held-out rows, in the order of the answers.
        answered: of every side, in the order in which they are shown.
        training: training rows with the base model's answers, which say what it does anyway.
        likelihoods: of the wanted answers, for the sides that were asked for them.
        examples: for the sides that were shown some.
    """
    texts = {side: [answer["text"] for answer in answers] for side, answers in answered.items()}
    wanted = [row.reference for row in rows]
    found = measures.of(texts, wanted, [row.prompt for row in rows])
    sounds = tone.tone(wanted, texts, [(row.reference, answer) for row, answer in training])
    entries = [_with_scores(one) for one in [*found, *([sounds.measure()] if sounds else [])]]
    loss = measures.loss(likelihoods)
    return {
        **so_far(rows, answered, training, examples),
        "measures": _together([*entries, *([loss] if loss else [])]),
        "tone": sounds.as_json() if sounds else None,
    }


def so_far(
    rows: Sequence[HeldOutRow], answered: BySide, training: Training, examples: Examples | None = None
) -> Card:
    """The answers to some rows as a card holds them, with nothing measured yet."""
    return {
        "version": VERSION,
        "rows": len(rows),
        "sides": [_side(side, answers, (examples or {}).get(side)) for side, answers in answered.items()],
        "measures": [],
        "tone": None,
        "answers": [
            {
                "row": row.row,
                "prompt": row.prompt,
                "wanted": row.reference,
                "answers": {side: answers[index]["text"] for side, answers in answered.items()},
            }
            for index, row in enumerate(rows)
        ],
        "training_answers": [
            {"prompt": row.prompt, "wanted": row.reference, "answer": answer} for row, answer in training
        ],
    }


def counted(card: Card, of_dataset: Sequence[tuple[Rule, bool]]) -> Card:
    """The card with these rules counted: rules, verdict and comparisons; each rule comes with whether it is on."""
    is_on = {rule.name: on for rule, on in of_dataset}
    judged = judge(card, [rule for rule, _ in of_dataset])
    passed = {rule.name: _passed(rule, card) for rule, _ in of_dataset}
    counting = [one.rule for one in judged if one.counts and is_on[one.rule.name]]
    evidence = verdict.Evidence(
        passed={
            side["side"]: [
                [passed[rule.name][side["side"]][index] for rule in counting]
                for index in range(len(card["answers"]))
            ]
            for side in card["sides"]
        },
        rules=[rule.words for rule in counting],
        measures=[_measure(entry) for entry in card["measures"] if "scores" in entry],
        tokens_per_call={side["side"]: side["prompt_tokens_mean"] for side in card["sides"]},
        same_text=all(row["answers"]["adapted"] == row["answers"]["base"] for row in card["answers"]),
        tone_is_reliable=bool((card.get("tone") or {}).get("reliable")),
        examples={side["side"]: tuple(side["examples"]) for side in card["sides"] if side.get("examples")},
    )
    found = [_rule(one, is_on[one.rule.name], passed[one.rule.name], card) for one in judged]
    # What is said of a rule that counts shall not depend on how many others do not.
    said = {
        entry["name"]: entry
        for counts in (True, False)
        for entry in _together([entry for entry in found if entry["counts"] is counts])
    }
    return {
        **card,
        "verdict": verdict.verdict(evidence).as_json(),
        "comparisons": verdict.comparisons(evidence),
        "rules": [said[entry["name"]] for entry in found],
    }


def asked_about(adapter: Adapter, plan: Plan, instruction: str) -> dict[str, Any]:
    """What a card's answers depend on: when it changes, they have to be given again."""
    return {
        "version": VERSION,
        "weights_sha256": adapter.weights_sha256,
        "strength": adapter.strength,
        "instruction": instruction,
        "must_not_change": plan.must_not_change,
        "plan": {"rules": plan.rules, "instruction": plan.instruction},
    }


def judge(card: Card, found: Sequence[Rule]) -> list[Judged]:
    """Which of these rules count: kept by the card's wanted answers, and not kept by the base model anyway."""
    wanted = [(row["prompt"], row["wanted"]) for row in card["answers"]]
    base = [(row["prompt"], row["wanted"], row["answer"]) for row in card["training_answers"]]
    return rules.judged(found, wanted, base or None)


def _passed(rule: Rule, card: Card) -> dict[str, list[bool]]:
    return {
        side["side"]: [
            rule.passes(row["answers"][side["side"]], row["wanted"], row["prompt"]) for row in card["answers"]
        ]
        for side in card["sides"]
    }


def _rule(one: Judged, is_on: bool, passed: Mapping[str, Sequence[bool]], card: Card) -> dict[str, Any]:
    sides = {}
    for side, kept in passed.items():
        rate = wilson(sum(kept), len(kept))
        sides[side] = {
            "passed": sum(kept),
            "rows": len(kept),
            "rate": rate.value,
            "low": rate.low,
            "high": rate.high,
            "failing": [row["row"] for row, keeps in zip(card["answers"], kept, strict=True) if not keeps],
        }
    difference = paired_difference([float(p) for p in passed["adapted"]], [float(p) for p in passed["base"]])
    return {**rule_entry(one, is_on), "sides": sides, "difference": difference.as_json()}


def rule_entry(one: Judged, is_on: bool) -> dict[str, Any]:
    """What a card says of a rule beside who kept it."""
    return {
        "rule": one.rule.as_json(),
        "name": one.rule.name,
        "words": one.rule.words,
        "counts": one.counts and is_on,
        "on": is_on,
        "holds": one.holds,
        "base_training": one.base,
        "why": one.why,
    }


def _together(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of one table, each with the `p` of its difference that it has among all of them."""
    differences = [entry["difference"] for entry in entries if entry["difference"]]
    chances = iter(holm([difference["p"] for difference in differences]))
    return [
        {**entry, "difference": {**entry["difference"], "p": next(chances)}} if entry["difference"] else entry
        for entry in entries
    ]


def _side(side: str, answers: Sequence[SideAnswer], examples: Sequence[int] | None) -> dict[str, Any]:
    """What a card says of who answered; `examples` are the fewest and the most that stood before a question."""
    fewest_and_most = [min(examples), max(examples)] if examples else None
    return {
        "side": side,
        "label": shown_label(side, *fewest_and_most) if fewest_and_most else answers[0]["label"],
        "weights": answers[0]["weights"],
        "prompt_tokens_mean": fmean(answer["prompt_tokens"] for answer in answers),
        "tokens_mean": fmean(answer["tokens"] for answer in answers),
        "cut": sum(answer["finish_reason"] == "length" for answer in answers),
        **({"examples": fewest_and_most} if fewest_and_most else {}),
    }


def _with_scores(measure: Measure) -> dict[str, Any]:
    """As the card shows it, with the numbers of the rows, from which the verdict is made again."""
    return {**measure.as_json(), "scores": {side: list(rows) for side, rows in measure.scores.items()}}


def _measure(entry: Mapping[str, Any]) -> Measure:
    return Measure(
        entry["name"], entry["words"], entry["unit"], entry["better"], entry["scores"], entry["note"]
    )
