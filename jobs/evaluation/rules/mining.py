"""The habits that the training answers share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.evaluation.rules import (
    address,
    counts,
    edges,
    json_answers,
    language,
    line_shapes,
    marks,
    parts,
    patterns,
    phrases,
    voice,
)
from jobs.evaluation.rules.examples import SHARE, Examples, Sample
from jobs.evaluation.rules.overlaps import told_once
from jobs.evaluation.rules.rule import Kind, Rule

# So many answers, from all over the examples, tell that of a million too.
MOST_MINED = 5_000
# In so many of them habits are looked for; all of them have to keep what is found.
MOST_LOOKED_AT = 1_000

# In this order they are offered to somebody who adds a rule, and listed.
_OFFERED = (
    phrases.CONTAINS, phrases.NEVER_CONTAINS, edges.BEGINS_WITH, edges.ENDS_WITH, counts.LENGTH_BAND,
    counts.ONE_SENTENCE, counts.SENTENCES, counts.LINES, counts.READING_LEVEL, address.ADDRESS, voice.SPEAKS_AS,
    voice.NEVER_SPEAKS_AS, language.LANGUAGE, language.SAME_LANGUAGE, voice.CONTRACTIONS, voice.NO_CONTRACTIONS,
    phrases.NO_STOCK_PHRASES, marks.PLAIN_TEXT, marks.BULLETS, marks.NUMBERED, marks.ITEMS, marks.HEADINGS,
    marks.BOLD, marks.CODE_BLOCK, marks.EMOJI, marks.NO_EMOJI, marks.EXCLAMATION, marks.NO_EXCLAMATION,
    marks.ASKS_LAST, marks.NO_FINAL_PERIOD, marks.LOWER_CASE, marks.UPPER_CASE, line_shapes.LINE_SHAPE,
    line_shapes.RIGHT_VALUE, parts.PARTS, parts.ONE_OF, parts.EXACT_MATCH, json_answers.VALID_JSON,
    json_answers.SAME_KEYS, json_answers.VALUES_EQUAL, json_answers.FIELDS_EQUAL, patterns.MATCHES,
    patterns.NEVER_MATCHES,
)  # fmt: skip
KINDS: dict[str, Kind] = {one.name: one for one in _OFFERED}


def mine(samples: Sequence[Sample]) -> list[Rule]:
    """The rules that training rows, (prompt, answer), suggest; `judged` decides which of them count.

    Each is kept by at least 90 % of these very answers.
    """
    rows = [(prompt, answer) for prompt, answer in samples if answer.strip()]
    if not rows:
        return []
    step = -(-len(rows) // MOST_LOOKED_AT)
    needed = SHARE * len(rows)
    return told_once(
        [
            rule
            for rule in _found(Examples(rows[::step]))
            if sum(rule.passes(answer, answer, prompt) for prompt, answer in rows) >= needed
        ]
    )


def _found(examples: Examples) -> Iterator[Rule]:
    json_rules = list(json_answers.mined(examples))
    if json_rules:
        yield from json_rules
        return
    yield from parts.mined(examples)
    if parts.choices(examples):
        return  # a label has no style
    yield from line_shapes.mined(examples)
    yield from edges.mined(examples)
    yield from marks.mined(examples)
    yield from counts.mined(examples)
    yield from address.mined(examples)
    yield from voice.mined(examples)
    yield from language.mined(examples)
    yield from phrases.mined(examples)
