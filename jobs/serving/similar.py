"""Which of many texts are most similar to one: runs of three letters, weighted by how rare they are.

Letters and not words, so that it works in every language, with endings and slips of the keyboard. The weights are
BM25's (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework").
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.ndarray[Any, Any]

LETTERS = 3
# Of very many texts only the beginnings count, so that all of them take no more than so many letters.
MOST_LETTERS, LONGEST = 4_000_000, 2_000
# How soon a repetition stops counting, and how much a long text is held back.
SATURATION, LENGTH_SHARE = 1.2, 0.75


class Similar:
    """Texts to search in, by the places they have in the order given."""

    def __init__(self, texts: Sequence[str]) -> None:
        import numpy as np

        self._longest = min(LONGEST, MOST_LETTERS // max(1, len(texts)))
        found = [np.unique(_runs(text[: self._longest]), return_counts=True) for text in texts]
        lengths = np.array([counts.sum() for _, counts in found], np.float32)
        self._size = len(found)
        places = np.repeat(np.arange(self._size, dtype=np.int32), [len(runs) for runs, _ in found])
        runs = np.concatenate([runs for runs, _ in found]) if found else np.empty(0, np.int64)
        counts = np.concatenate([counts for _, counts in found]) if found else np.empty(0, np.int64)
        order = np.argsort(runs)
        self._runs, self._starts = np.unique(runs[order], return_index=True)
        self._starts = np.append(self._starts, len(runs))
        self._places = places[order]
        held_back = (
            1 - LENGTH_SHARE + LENGTH_SHARE * lengths / max(1.0, float(lengths.mean()) if found else 1.0)
        )
        often = counts[order].astype(np.float32)
        self._weights = often / (often + SATURATION * held_back[self._places])

    def nearest(self, text: str, count: int) -> list[int]:
        """The places of at most `count` texts, the most similar one first; of equals the earlier one."""
        import numpy as np

        scores = np.zeros(self._size, np.float32)
        asked = np.unique(_runs(text[: self._longest]))
        there = np.searchsorted(self._runs, asked)
        inside = there < len(self._runs)
        for at in there[inside][self._runs[there[inside]] == asked[inside]]:
            start, end = self._starts[at], self._starts[at + 1]
            rare = np.log1p((self._size - (end - start) + 0.5) / (end - start + 0.5))
            # A text has each run once in this list.
            scores[self._places[start:end]] += rare * self._weights[start:end]
        return [int(place) for place in np.argsort(-scores, kind="stable")[:count]]


def _runs(text: str) -> Numbers:
    """A number for each run of three letters; spaces around a text count as one letter."""
    import numpy as np

    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    letters = np.frombuffer(f" {plain} ".encode("utf-32-le", "replace"), np.uint32).astype(np.int64)
    runs: Numbers = (letters[:-2] << 42) | (letters[1:-1] << 21) | letters[2:]
    return runs
