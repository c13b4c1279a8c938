"""Rows that say nearly the same as another: candidates by MinHash over words, then compared word by word.

MinHash: Broder, "On the resemblance and containment of documents" (1997). A pair counts only where a person
would say "that is the same row again": rows made from one template with other facts in them are no copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from itertools import product
from typing import Any

from jobs.datasets.checks.problems import Problem, counted, problem
from jobs.datasets.checks.texts import Message, normal, words

HASHES = 8
_FEWEST_SHARED = 3  # of the keys; copies share five or more nearly always, rows of one template two or three
_MOST_PAIRS = 100_000  # compared word by word, about 0.2 ms each
_NEIGHBOURS = 3  # of one bucket's rows, in order of length; more are a template's rows
_LITTLE = words(
    "a an the this that these those my your our his her its their some any please pls kindly just so "
    "well then also is are was were be do does did can could will would shall should of to in on at by "
    "for with and or as it i you we me us hi hello hey thanks thank really very quite actually der die "
    "das den dem des ein eine einen einem einer mein meine meinen dein ihr ihre bitte mal doch denn "
    "auch und oder ist sind war kann könnte würde zu im in an am auf für mit von ich du sie wir es mir "
    "mich le la les un une des du de mon ma mes votre vos et ou est sont en au aux je vous nous"
)
_TURNS_ROUND = words(
    "no not never none nothing without yes true false nein nicht nie kein keine ohne ja non pas jamais oui"
)
_OPPOSITES = ("un", "in", "im", "il", "ir", "dis", "non", "de", "anti", "mis", "over", "under", "pre", "post")
_MOST_REMEMBERED = 20_000
_FEW_WORDS = 5
Said = tuple[str, list[str]]  # who says it, and its words
Fetch = Callable[[int], "dict[str, Any] | None"]


def sketch(asked: str, answered: str) -> list[int]:
    """Keys of which rows with nearly the same question and nearly the same answer share at least one."""
    from rensa import RMinHash  # type: ignore[import-untyped]

    sides = []
    for text in (asked, answered):
        hashed = RMinHash(num_perm=HASHES, seed=1)
        hashed.update(text.split() or [""])
        sides.append(hashed.digest())
    return [(a << 32) | b for a, b in zip(*sides, strict=True)]


def near_copies(table: Any, fetch: Fetch) -> Any:
    """A mask of the rows that nearly repeat another; of each group a held-out row stays, else the first."""
    import numpy as np

    group = np.arange(len(table))

    def head(n: int) -> int:
        while group[n] != n:
            group[n] = group[group[n]]
            n = int(group[n])
        return n

    texts: dict[int, list[Said] | None] = {}
    for a, b in _pairs(table):
        if head(a) == head(b):
            continue
        if len(texts) > _MOST_REMEMBERED:
            texts.clear()
        for n in (a, b):
            if n not in texts:
                row = fetch(int(table["row"][n]))
                texts[n] = said_in(row["messages"]) if row else None
        if same_again(texts[a], texts[b]):
            first, second = sorted((head(a), head(b)), key=lambda n: (1 - int(table["split"][n]), n))
            group[second] = first
    return np.array([head(n) != n for n in range(len(table))], bool) if len(table) else np.zeros(0, bool)


def problems(table: Any, near: Any) -> Iterator[Problem]:
    """The finding about near copies."""
    if near.any():
        yield problem(
            "near_duplicate",
            "warning",
            table["row"][near],
            f"{counted(int(near.sum()), 'row says', 'rows say')} nearly the same as another one.",
            "They teach nothing new and weigh more. “Keep one” leaves one of each.",
        )


def said_in(messages: list[Message]) -> list[Said]:
    """Who says which words, in order."""
    return [(m["role"], normal(m["content"]).split()) for m in messages]


def same_again(one: list[Said] | None, other: list[Said] | None) -> bool:
    """Whether two conversations say the same but for spelling, small words and a little polish."""
    if not one or not other or [role for role, _ in one] != [role for role, _ in other]:
        return False
    changed_asked: set[str] = set()
    # Answers first: they tell most pairs apart in a few words.
    for (role, a), (_, b) in sorted(zip(one, other, strict=True), key=lambda pair: len(pair[0][1])):
        if a != b and not _may_be_same(a, b, role == "assistant"):
            return False
    for (role, a), (_, b) in zip(one, other, strict=True):
        if a == b:
            continue
        answers = role == "assistant"
        ratio, changed = _difference(a, b)
        if ratio < (0.8 if answers else 0.7) or len(changed) > _allowed(a, b, answers):
            return False
        if answers and (min(len(a), len(b)) < 5 or changed & changed_asked):
            return False
        if not answers:
            changed_asked |= changed
    return True


def _allowed(a: list[str], b: list[str], answers: bool) -> float:
    """How many words may be others: one in a prompt of 50 (it is one in each text), every tenth in a long answer.

    None in a short answer or in JSON: there one other word is another answer.
    """
    longer = max(len(a), len(b))
    if answers and (longer < 20 or (a[:1] and a[0][0] in "{[")):
        return 0
    return 2 * longer * (0.1 if answers else 0.02)


def _may_be_same(a: list[str], b: list[str], answers: bool) -> bool:
    """What can be told from the words alone, whatever their order; spends little time."""
    differing = set(a) ^ set(b)
    if differing & _TURNS_ROUND or len(differing) > max(_FEW_WORDS, 0.3 * (len(a) + len(b))):
        return False
    return len(differing - _LITTLE) <= _allowed(a, b, answers) + 6  # three words may be spelled otherwise


def _difference(a: list[str], b: list[str]) -> tuple[float, set[str]]:
    """How alike two texts are, and the words with a meaning of their own that only one of them has."""
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    gone: list[str] = []
    come: list[str] = []
    for kind, a1, a2, b1, b2 in matcher.get_opcodes():
        if kind != "equal":
            gone += [word for word in a[a1:a2] if word not in _LITTLE]
            come += [word for word in b[b1:b2] if word not in _LITTLE]
    for word in list(gone):
        match = next((c for c in come if _same_word(word, c)), None)
        if match is not None:
            gone.remove(word)
            come.remove(match)
    if any(c.isdigit() for word in (*gone, *come) for c in word):
        return 0.0, set()  # other figures are other facts
    # In a short prompt a few small words more or less move the ratio much and the meaning little.
    polished = not gone and not come and len(set(a) ^ set(b)) <= _FEW_WORDS and len(set(a) - _LITTLE) > 1
    ratio = 1.0 if polished else matcher.ratio()
    return ratio, {*gone, *come}


def _same_word(a: str, b: str) -> bool:
    """The same word spelled otherwise, never its opposite."""
    if a == b:
        return True
    if min(len(a), len(b)) < 4 or any(a == p + b or b == p + a for p in _OPPOSITES):
        return False
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= 0.8


def _pairs(table: Any) -> Iterator[tuple[int, int]]:
    """Pairs worth comparing: they share a key and their figures, and are about as long."""
    import numpy as np

    done: set[tuple[int, int]] = set()
    length = table["answer_chars"].astype("i8") + table["prompt_chars"]
    for column, by_answer in product(range(HASHES), (True, False)):
        keys = table["near"][:, column]
        nearest = table["answer"] if by_answer else length
        order = np.lexsort((length, nearest, table["figures"], keys))
        for apart in range(1, _NEIGHBOURS + 1):
            one, other = order[:-apart], order[apart:]
            alike = (keys[one] == keys[other]) & (table["figures"][one] == table["figures"][other])
            alike &= table["turns"][one] == table["turns"][other]
            alike &= np.abs(length[one] - length[other]) <= 20 + 0.15 * length[one]
            one, other = one[alike], other[alike]
            shared = (table["near"][one] == table["near"][other]).sum(axis=1) >= _FEWEST_SHARED
            # Short prompts share few words even when they are copies; a long answer that is the same tells enough.
            shared |= (table["answer"][one] == table["answer"][other]) & (table["label"][one] == 0)
            for a, b in zip(one[shared].tolist(), other[shared].tolist(), strict=True):
                pair = (min(a, b), max(a, b))
                if pair not in done:
                    done.add(pair)
                    yield pair
                    if len(done) >= _MOST_PAIRS:
                        return
