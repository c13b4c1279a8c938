"""Rules about answers made of named parts, and about answers chosen from a few."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from jobs.evaluation.rules import texts
from jobs.evaluation.rules.examples import Examples, surely
from jobs.evaluation.rules.parameters import nothing, quoted, texts_in
from jobs.evaluation.rules.rule import Field, Parameters, Rule, Text, kind

# What a part may begin with: “## Summary”, “**Fix:**”, “Cause:”.
_LABEL = re.compile(
    r"(?:#{1,6}[ \t]+([^\n]{1,60})$|\*\*([^*\n]{1,60})\*\*:?|([^\W\d_][^\n:.!?]{0,40}):)", re.MULTILINE
)
MOST_LABELS = 12
# Answers that are one of so few texts are choices.
MOST_CHOICES, LONGEST_CHOICE, LEAST_OFTEN = 12, 60, 2
FEWEST_ANSWERS = 10
SHORT_ANSWER = 3  # words


def labels_of(answer: str) -> list[str]:
    """The names of an answer's parts, in their order, each once."""
    found = (
        _LABEL.match(line.lstrip("-*• ") if line.startswith(("- ", "• ", "* ")) else line)
        for line in texts.lines_of(answer)
    )
    return list(dict.fromkeys(_bare(next(filter(None, one.groups()))) for one in found if one))


def _bare(label: str) -> str:
    return label.strip(" \t:*#")


def _in_order(parameters: Parameters, text: Text) -> bool:
    labels = iter([texts.plain(label) for label in labels_of(text.answer)])
    return all(texts.plain(wanted) in labels for wanted in parameters["labels"])


def _one_of(parameters: Parameters, text: Text) -> bool:
    return texts.plain(text.answer) in [texts.plain(one) for one in parameters["texts"]]


def _choice_words(parameters: Parameters) -> str:
    choices = parameters["texts"]
    return f"just {quoted(choices)}" if len(choices) <= 2 else f"one of {quoted(choices)}"


EXACT_MATCH = kind(
    name="exact_match",
    label="Is the wanted answer, word for word",
    help="Spaces around it do not count.",
    check=lambda parameters, text: text.answer.strip() == text.reference.strip(),
    words=lambda parameters: "word for word the wanted answer",
    checked=nothing,
    needs_wanted=True,
)
ONE_OF = kind(
    name="one_of",
    label="Is one of a few answers",
    help="The whole answer is one of these texts, capital or small.",
    check=_one_of,
    words=_choice_words,
    imperative=lambda parameters: f"Answer with {_choice_words(parameters)}, and nothing else.",
    parameters=(Field("texts", "Answers, one a line", "lines"),),
    checked=lambda parameters: {"texts": texts_in(parameters, "texts", "Answers")},
    single=True,
)
PARTS = kind(
    name="parts",
    label="Has named parts in this order",
    help="Lines that begin with these names: “Cause: …”, “**Fix:** …” or “## Summary”.",
    check=_in_order,
    words=lambda parameters: f"the parts {quoted(parameters['labels'], 'and')} in this order",
    imperative=lambda parameters: (
        f"Give the answer the parts {quoted(parameters['labels'], 'and')}, in this order, "
        "each on a line that begins with its name."
    ),
    parameters=(Field("labels", "Names, one a line", "lines"),),
    checked=lambda parameters: {"labels": texts_in(parameters, "labels", "Names")},
    single=True,
)


def choices(examples: Examples) -> list[str]:
    """The few texts that nearly all answers are; [] where they are no choices."""
    counts = Counter(
        answer for answer in examples.answers if "\n" not in answer and len(answer) <= LONGEST_CHOICE
    )
    often = [text for text, count in counts.most_common(MOST_CHOICES) if count >= LEAST_OFTEN and text]
    total = len(examples.answers)
    few = len(often) <= max(2, total / 4)
    return sorted(often) if few and surely(sum(counts[text] for text in often), total) else []


def mined(examples: Examples) -> Iterator[Rule]:
    """The parts of the answers, the few that they are chosen from, and whether only the very words are right."""
    found = choices(examples)
    if found:
        yield ONE_OF.mined(texts=found)
    if len(examples.answers) >= FEWEST_ANSWERS and (found or examples.words <= SHORT_ANSWER):
        yield EXACT_MATCH.mined()
    labels = [labels_of(answer) for answer in examples.answers]
    counts = Counter(label for one in labels for label in one)
    usual = [label for label, count in counts.items() if surely(count, len(labels))]
    ordered = sorted(
        usual, key=lambda label: sum(one.index(label) for one in labels if label in one) / counts[label]
    )
    if 2 <= len(ordered) <= MOST_LABELS:
        yield PARTS.mined(labels=ordered)
