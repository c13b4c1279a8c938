"""What an adapter changes beside its task: unrelated prompts answered with and without it, on one needle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from statistics import fmean
from typing import Any

from jobs.evaluation import side_effect_words as said
from jobs.evaluation import symptoms
from jobs.evaluation.rules import Rule
from jobs.evaluation.unrelated_prompts import PROMPTS, VERSION
from jobs.serving.schema import SideAnswer, SideRequest
from jobs.serving.sides import Messages, behind, shared_system
from storage.adapters import Adapter
from storage.errors import StudioError

ANSWER_TOKENS = 48
# At this divergence (nats a token) an answer counts as two thirds changed; what is usual stands in the tests.
STRONG_DIVERGENCE = 0.5
# Two ways of saying the same share about so many of their words, and what shares none says something else.
USUAL_OVERLAP = 0.35
# An answer changed by less is unchanged for whoever reads it.
UNCHANGED = 0.25
# A habit of the examples that so many more unrelated answers have than the base model's is taken too far.
STYLE_SHARE = 0.1
MOST_EXAMPLES = 12

Ask = Callable[[list[SideRequest], int], list[SideAnswer]]
Likelihoods = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
Report = Callable[[str, int | None, int | None], None]


@dataclass
class Compared:
    """One prompt with both answers; `change` is 0 for the same answer and 1 for quite another one."""

    prompt: str
    base: str
    adapted: str
    tokens: int
    divergence: float
    why: list[str] = field(default_factory=list)
    training: str | None = None

    @property
    def change(self) -> float:
        """How much of the answer is the adapter's: by the model's own surprise, by the words, or by a symptom."""
        if self.why:
            return 1.0
        surprise = 1 - exp(-self.divergence / STRONG_DIVERGENCE / max(1, self.tokens))
        words = 1 - symptoms.overlap(self.base, self.adapted) / USUAL_OVERLAP
        return max(surprise, words)

    @property
    def is_changed(self) -> bool:
        return self.change >= UNCHANGED


def measure(
    adapter: Adapter,
    ask: Ask,
    likelihoods: Likelihoods,
    own_prompts: Sequence[str],
    rules: Sequence[Rule],
    training_answers: Iterable[str],
    report: Report,
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    """The card's side effects: counts, examples, and one needle from 0 (nothing) to 1 (another model).

    Args:
        ask: gives the answers to requests, in their order.
        likelihoods: gives {"tokens", "nats", "divergence"} of continuations, in their order.
        own_prompts: the user's own, whose answers must not change.
        rules: those that count for the adapter's task; those that need a wanted answer say nothing here.

    Raises: StudioError when stopped.
    """
    if should_stop():
        raise StudioError("The check was stopped.", "Start it again when you like.")
    report("Checking side effects", None, None)
    # Without the examples' system message, which would ask for the task; the user's own prompts as he asks them.
    system = shared_system(adapter.dataset_id)
    conversations = [_asked(entry.prompt) for entry in PROMPTS]
    conversations += [behind(_asked(prompt), system) for prompt in own_prompts]
    compared = _compared(adapter, conversations, ask, likelihoods)
    unrelated, own = compared[: len(PROMPTS)], compared[len(PROMPTS) :]
    found = _declined(unrelated) | _circles(unrelated) | {"style": _style(unrelated, rules)}
    found["copied"] = _copied(unrelated, training_answers)
    _declined(own), _circles(own)
    return _card(unrelated, own, found)


def _asked(prompt: str) -> Messages:
    return [{"role": "user", "content": prompt}]


def _compared(
    adapter: Adapter, conversations: Sequence[Messages], ask: Ask, likelihoods: Likelihoods
) -> list[Compared]:
    """Both answers to each conversation, and how much the adapter is surprised by the base model's."""
    weights = {adapter.id: adapter.strength}
    requests = [
        SideRequest(side=side, label=label, adapters=adapters, messages=turns)
        for turns in conversations
        for side, label, adapters in (("base", "Base model", {}), ("adapted", adapter.name, weights))
    ]
    texts = [answer["text"] for answer in ask(requests, ANSWER_TOKENS)]
    base, adapted = texts[::2], texts[1::2]
    measured = likelihoods(
        [
            {"adapters": weights, "messages": turns, "answer": answer}
            for turns, answer in zip(conversations, base, strict=True)
        ]
    )
    return [
        Compared(turns[-1]["content"], ours, theirs, int(one["tokens"]), float(one["divergence"]))
        for turns, ours, theirs, one in zip(conversations, base, adapted, measured, strict=True)
    ]


def _declined(compared: Sequence[Compared]) -> dict[str, Any]:
    """How many answers decline; one that does so only with or only without the adapter has changed."""
    pairs = [(symptoms.declines(one.base), symptoms.declines(one.adapted)) for one in compared]
    for one, (before, after) in zip(compared, pairs, strict=True):
        if before != after:
            one.why.append(said.DECLINES if after else said.DECLINES_NO_MORE)
    return {"refusals": _counts(pairs)}


def _circles(compared: Sequence[Compared]) -> dict[str, Any]:
    """How many answers run in circles; one that does so only with the adapter has changed."""
    pairs = [(symptoms.runs_in_circles(one.base), symptoms.runs_in_circles(one.adapted)) for one in compared]
    for one, (before, after) in zip(compared, pairs, strict=True):
        if after and not before:
            one.why.append(said.CIRCLES)
    return {"loops": _counts(pairs)}


def _counts(pairs: Sequence[tuple[bool, bool]]) -> dict[str, int]:
    return {"base": sum(before for before, _ in pairs), "adapted": sum(after for _, after in pairs)}


def _style(compared: Sequence[Compared], rules: Sequence[Rule]) -> dict[str, Any] | None:
    """The habit of the examples that the adapter most shows where nobody asked for it; None without any rule."""
    kept = {
        rule.words: [
            (rule.passes(one.base, "", one.prompt), rule.passes(one.adapted, "", one.prompt))
            for one in compared
        ]
        for rule in rules
        if not rule.needs_wanted
    }
    if not kept:
        return None
    shares = {words: _shares(pairs) for words, pairs in kept.items()}
    most = max(shares, key=lambda words: shares[words]["adapted"] - shares[words]["base"])
    if shares[most]["adapted"] - shares[most]["base"] >= STYLE_SHARE:
        for one, (before, after) in zip(compared, kept[most], strict=True):
            if after and not before:
                one.why.append(said.STYLE.format(words=most))
    return {**shares[most], "words": most}


def _shares(pairs: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    return {"base": fmean(before for before, _ in pairs), "adapted": fmean(after for _, after in pairs)}


def _copied(compared: Sequence[Compared], training: Iterable[str]) -> dict[str, Any]:
    """The answers that repeat a training answer word for word where nobody asked for it."""
    sources = symptoms.copies([one.adapted for one in compared], [one.base for one in compared], training)
    for one, source in zip(compared, sources, strict=True):
        if source is not None:
            one.why.append(said.COPIED)
            one.training = source
    examples = [
        {"prompt": one.prompt, "answer": one.adapted, "training": one.training}
        for one in compared
        if one.training is not None
    ]
    return {"answers": len(examples), "examples": examples[:MOST_EXAMPLES]}


def _card(unrelated: Sequence[Compared], own: Sequence[Compared], found: Mapping[str, Any]) -> dict[str, Any]:
    tokens = sum(one.tokens for one in unrelated)
    counted = {
        "version": VERSION,
        "prompts": len(unrelated),
        "unchanged": sum(not one.is_changed for one in unrelated),
        "drift": {
            "kl_per_token": sum(one.divergence for one in unrelated) / max(1, tokens),
            "overlap": fmean(symptoms.overlap(one.base, one.adapted) for one in unrelated),
        },
        **found,
        "own": {
            "prompts": len(own),
            "unchanged": sum(not one.is_changed for one in own),
            "examples": _examples(own),
        },
        "needle": fmean(one.change for one in unrelated),
        "examples": _examples(unrelated),
    }
    return counted | said.in_words(counted)


def _examples(compared: Sequence[Compared]) -> list[dict[str, Any]]:
    """The answers that changed, the most changed first."""
    changed = sorted((one for one in compared if one.is_changed), key=lambda one: -one.change)
    return [
        {
            "prompt": one.prompt,
            "base": one.base,
            "adapted": one.adapted,
            "why": "; ".join(one.why) or said.OTHERWISE,
        }
        for one in changed[:MOST_EXAMPLES]
    ]
