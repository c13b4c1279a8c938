"""Where an answer differs from another text, word by word → HTML. Pure; never by colour alone."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from studio import words

# A word, a sign, or the spaces between them: nothing of the text is lost.
WORDS = re.compile(r"\w+|\s+|[^\w\s]")
# Below this share in common nearly every word would be marked, which marks nothing.
LEAST_IN_COMMON = 0.4
# Comparing takes time and room that grow with the product of both lengths.
MOST_WORDS = 4000


@dataclass(frozen=True)
class Marked:
    """The text as HTML with what differs marked, and a sentence that says the same without the marks."""

    text: str
    said: str


# While one side still writes, the others are drawn again and again.
@lru_cache(maxsize=64)
def marked(answer: str, other: str, name: str, with_missing: bool) -> Marked:
    """An answer beside `other`, which is called `name` in the sentence, e.g. "the wanted answer".

    What only the answer has is underlined; what only the other has is struck out there, where `with_missing`.
    """
    from rapidfuzz.distance import Indel  # no page but this one needs it

    plain = html.escape(answer)
    if answer.strip() == other.strip():
        return Marked(plain, f"Word for word {name}.")
    ours, theirs = WORDS.findall(answer), WORDS.findall(other)
    if max(len(ours), len(theirs)) > MOST_WORDS:
        return Marked(plain, "")
    if Indel.normalized_similarity(theirs, ours) < LEAST_IN_COMMON:
        return Marked(plain, f"Different throughout from {name}.")
    pieces, differing = [], 0
    for same, own, missing in _steps(Indel.opcodes(theirs, ours), ours, theirs):
        if same:
            pieces.append(html.escape(own))
            continue
        differing += _counted(own) or _counted(missing)
        pieces.append(f"<ins>{html.escape(own)}</ins>" if own.strip() else html.escape(own))
        if with_missing and missing.strip():
            pieces.append(f"<del>{html.escape(missing)}</del>")
    return Marked(
        "".join(pieces), f"{words.many(differing, 'word')} differ{'s' * (differing == 1)} from {name}."
    )


def _steps(found: Any, ours: list[str], theirs: list[str]) -> list[tuple[bool, str, str]]:
    """(same in both, the answer's own piece, the other's piece); words that differ in a row are one piece."""
    steps: list[tuple[bool, str, str]] = []
    for step in found:
        own = "".join(ours[step.dest_start : step.dest_end])
        missing = "".join(theirs[step.src_start : step.src_end])
        same = step.tag == "equal"
        # Spaces between two words that differ are no island of agreement.
        joins = steps and not steps[-1][0] and (not same or not own.strip())
        if joins:
            steps[-1] = (False, steps[-1][1] + own, steps[-1][2] + missing)
        else:
            steps.append((same, own, missing))
    return steps


def _counted(text: str) -> int:
    """How many words and signs a piece has; spaces do not count."""
    return sum(not word.isspace() for word in WORDS.findall(text))
