"""Blind comparison: two sides answer the same prompt, nobody knows whose answer is whose, and votes are counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from jobs import adapter_record
from jobs.base_models import catalogue
from jobs.evaluation.anytime import anytime_share
from jobs.evaluation.held_out import ROOM_FOR_AN_ANSWER, HeldOutRow, rows_of, that_fit
from jobs.evaluation.statistics import Interval
from jobs.serving import client
from jobs.serving.context import fits
from jobs.serving.schema import CompareSettings, SideAnswer, SideRequest
from jobs.serving.settled import Settled, settle
from jobs.serving.side_names import NAMED_SIDES, parts_of
from jobs.serving.sides import behind, requests_for, shared_system
from storage import adapters, files, votes
from storage.adapters import Adapter
from storage.errors import StudioError
from storage.votes import FIRST, SECOND, TIE, Counts, Vote

# The keys of a vote: for the answer on the left, the one on the right, for neither.
LEFT, RIGHT, NEITHER = CHOICES = ("1", "2", "0")
MOST_PROMPTS = 5000
SEEDS = 2**31 - 2
ALL_VOTED = "Every held-out example has been voted on."
AT_ANOTHER_TEMPERATURE = (
    "At temperature 0 the same answers would come again. Set one such as 0.7 for new answers, whose votes are counted "
    "by themselves."
)
EVEN = 0.5
# Of fewer votes even those that are all for one side may be chance: only the interval of 8 of 8 leaves out even.
FEWEST_DECIDED = 8


@dataclass(frozen=True)
class Contest:
    """Two sides and how they are asked; `first` and `second` are in the same order whoever was named first."""

    adapter_id: str
    first: str
    second: str
    temperature: float = 0.0
    max_new_tokens: int = 256

    @classmethod
    def of(
        cls, adapter_id: str, sides: Sequence[str], temperature: Any = 0.0, max_new_tokens: Any = 256
    ) -> Contest:
        """The contest of two sides, which may be the same one drawn twice.

        Raises StudioError for an unknown adapter, a side or a number that cannot be, and for two sides that could
        only give the same answer.
        """
        adapters.get(adapter_id)
        if len(sides) != 2:
            raise StudioError(f"{len(sides)} sides were named.", "Name two: each pair has two answers.")
        for side in sides:
            parts_of(side)
        given = {"temperature": temperature, "max_new_tokens": max_new_tokens}
        checked = CompareSettings.from_json(given)
        if sides[0] == sides[1] and checked.temperature == 0:
            raise StudioError(
                "Both sides are the same, and at temperature 0 they answer the same.",
                "Set a temperature above 0, such as 0.7: then each draws its own answer.",
            )
        first, second = sorted(sides, key=_rank)
        return cls(adapter_id, first, second, checked.temperature, checked.max_new_tokens)

    @property
    def sides(self) -> tuple[str, str]:
        """Both sides, in their order."""
        return (self.first, self.second)

    @property
    def key(self) -> str:
        """What votes are counted together if somebody asks now; a pair keeps the one of when it was asked."""
        adapter = adapters.get(self.adapter_id)
        return self.key_with(settle(self.sides, adapter), adapter)

    def key_with(self, settled: Settled, adapter: Adapter) -> str:
        """The sides at their strengths and with the instruction's hash, the temperature and the longest answer."""
        sides = [settled.name(side, adapter) for side in self.sides]
        limits = [f"temperature {self.temperature:g}", f"at most {self.max_new_tokens} tokens"]
        return "|".join([*sides, *limits])

    @property
    def is_against_itself(self) -> bool:
        """Whether both answers come from the same side, so that only chance can tell them apart."""
        return self.first == self.second


@dataclass(frozen=True)
class Pair:
    """Two answers to one held-out prompt; `answers` and `seeds` are those of the contest's first and second side.

    `key` tells under which strengths and instruction they were given: its vote is counted with those alone.
    """

    id: str
    contest: Contest
    key: str
    row: HeldOutRow
    number: int
    rows: int
    answers: tuple[SideAnswer, SideAnswer]
    seeds: tuple[int, int]
    shown_left: str

    @property
    def shown(self) -> tuple[SideAnswer, SideAnswer]:
        """The answers as they stand before the reader: left, right."""
        first, second = self.answers
        return (first, second) if self.shown_left == FIRST else (second, first)

    @property
    def are_the_same(self) -> bool:
        """Whether both sides said the same, word for word."""
        return self.answers[0]["text"].strip() == self.answers[1]["text"].strip()


@dataclass(frozen=True)
class Standing:
    """How a contest stands: `share` is that of the second side among the votes that are no ties; None without any.

    `others` are votes on the same two sides that count elsewhere: at other strengths, temperatures, lengths or
    instructions.
    """

    counts: Counts
    share: Interval | None
    others: int = 0

    @property
    def decided(self) -> int:
        """The votes that are no ties."""
        return self.counts.first + self.counts.second

    @property
    def is_telling(self) -> bool:
        """Whether there are enough votes for a share to say anything."""
        return self.share is not None and self.decided >= FEWEST_DECIDED

    def sentence(self, labels: Mapping[str, str], contest: Contest) -> str:
        """In words that claim no more than the votes allow, however often they are read."""
        if self.share is None:
            return f"Only ties so far: {self.counts.ties}." if self.counts.ties else "No votes yet."
        if not self.is_telling:
            return (
                f"{self.decided} decided vote{'' if self.decided == 1 else 's'} so far. Of fewer than "
                f"{FEWEST_DECIDED} even a clear lead may be chance: {FEWEST_DECIDED - self.decided} more are useful."
            )
        name = "The second draw" if contest.is_against_itself else f"“{labels[contest.second]}”"
        other = "the first" if contest.is_against_itself else f"“{labels[contest.first]}”"
        low, high = 100 * self.share.low, 100 * self.share.high
        said = (
            f"{name} wins {100 * self.share.value:.0f} % of {self.decided} decided votes "
            f"(95 % interval {low:.0f}–{high:.0f} %)"
        )
        if contest.is_against_itself:
            even = self.share.low <= EVEN <= self.share.high
            return f"{said}: {'no difference, as it should be' if even else 'chance, since both are the same side'}."
        if self.share.low > EVEN:
            return f"{said}: it is preferred to {other}."
        if self.share.high < EVEN:
            return f"{said}: {other} is preferred."
        return f"{said}: that may still be chance."


def standing(contest: Contest, key: str | None = None) -> Standing:
    """How the votes stand that were given as things are now, or under a pair's `key`.

    Ties decide nothing, so the share is that of the votes that do: between equal sides each of those is a fair coin.
    Its interval holds after every vote, so that whoever stops when it looks best is not misled more often.
    """
    key = contest.key if key is None else key
    counted = votes.counts(contest.adapter_id, key)
    others = votes.count_others(contest.adapter_id, key, contest.first, contest.second)
    decided = counted.first + counted.second
    return Standing(counted, anytime_share(counted.second, decided) if decided else None, others)


def is_over(contest: Contest) -> bool:
    """Whether every prompt has been voted on, at a temperature at which it would be answered the same again."""
    if contest.temperature > 0:
        return False
    adapter = adapters.get(contest.adapter_id)
    rows = {row.row for row in _prompts(adapter.dataset_id, adapter.base_model_id)}
    return bool(rows) and rows.issubset(votes.rows_asked(contest.adapter_id, contest.key))


def next_row(contest: Contest, leave_out: Collection[int] = ()) -> HeldOutRow:
    """The held-out row whose turn it is: of those voted on least often the first, if possible not of `leave_out`.

    A row that is longer than what one of the sides can read is passed over, and at temperature 0 one that was voted
    on: it would be the same pair again, and no other vote. Raises StudioError when there is none.
    """
    return _turn(contest, leave_out).row


def ask(
    contest: Contest,
    leave_out: Collection[int] = (),
    should_stop: Callable[[], bool] = lambda: False,
    waits: Callable[[str], object] = lambda words: None,
    in_background: Callable[[], bool] = lambda: False,
    asker: str = "",
) -> Pair:
    """Let both sides answer the prompt whose turn it is.

    While a job has the device, `waits` is told so in sentences, and "" when it goes on. As long as it is
    `in_background` all questions of people come before; those of one `asker` wait for each other.
    Raises StudioError when `should_stop` says so, when no row is held out, or when the model cannot answer.
    """
    turn = _turn(contest, leave_out)
    adapter = adapters.get(contest.adapter_id)
    seed, shown_left = drawn(contest.adapter_id, turn.key, turn.row.row, turn.times)
    settings = CompareSettings(
        temperature=contest.temperature, max_new_tokens=contest.max_new_tokens, seed=seed
    )
    # One batch draws the same noise for all: the same side twice needs a second one to answer anything else.
    seeds = (seed, seed + 1) if contest.is_against_itself else (seed, seed)
    batches = [turn.requests] if seeds[0] == seeds[1] else [[one] for one in turn.requests]
    answered: list[SideAnswer] = []
    for one_seed, batch in zip(dict.fromkeys(seeds), batches, strict=True):
        answered += client.answers(
            adapter.base_model_id,
            batch,
            replace(settings, seed=one_seed),
            should_stop,
            waits,
            background=in_background,
            asker=asker,
        )
    first, second = answered
    both = (first, second)
    return Pair(files.new_id(), contest, turn.key, turn.row, turn.number, turn.rows, both, seeds, shown_left)


def drawn(adapter_id: str, contest: str, row: int, times: int) -> tuple[int, str]:
    """The seed of a prompt's answers, and which side stands on the left: the same for the same prompt every time."""
    chance = Random(f"{adapter_id} {contest} {row} {times}")
    return chance.randrange(SEEDS), chance.choice((FIRST, SECOND))


def vote(pair: Pair, choice: str) -> Vote:
    """Count a vote, "1" for the left answer, "2" for the right, "0" for neither; of a pair only the first counts.

    It is in the adapter's folder and in the database when this returns.
    Raises StudioError for any other choice, and when the adapter is gone.
    """
    if choice not in CHOICES:
        raise StudioError(
            f"The vote is {choice!r}.", "Vote 1 for the left answer, 2 for the right, 0 for a tie."
        )
    right = SECOND if pair.shown_left == FIRST else FIRST
    winner = {LEFT: pair.shown_left, RIGHT: right, NEITHER: TIE}[choice]
    contest = pair.contest
    given = Vote(
        id=pair.id,
        adapter_id=contest.adapter_id,
        contest=pair.key,
        held_out_row=pair.row.row,
        first=contest.first,
        second=contest.second,
        shown_left=pair.shown_left,
        winner=winner,
        details={
            "prompt": pair.row.prompt,
            "temperature": contest.temperature,
            "max_new_tokens": contest.max_new_tokens,
            **{
                name: {
                    "label": answer["label"],
                    "text": answer["text"],
                    "weights": answer["weights"],
                    "seed": seed,
                }
                for name, answer, seed in zip((FIRST, SECOND), pair.answers, pair.seeds, strict=True)
            },
        },
        created_at=time.time(),
    )
    adapters.get(contest.adapter_id)
    # The folder first: what the database then lacks for a crash, the same vote once more or a rebuild brings.
    adapter_record.keep_vote(given)
    return votes.add(**vars(given))


VOTES_HEADER = (
    *(
        "given",
        "contest",
        "held-out row",
        "prompt",
        "first side",
        "second side",
        "first answer",
        "second answer",
    ),
    *("shown left", "winner", "winning side", "temperature", "first weights", "second weights", "id"),
)


def votes_table(adapter_id: str) -> Iterator[list[Any]]:
    """The votes on an adapter as rows under `VOTES_HEADER`; raises StudioError when there is no such adapter."""
    adapters.get(adapter_id)
    return (_table_row(one) for one in votes.list_of(adapter_id))


def _table_row(one: Vote) -> list[Any]:
    first, second = (one.details.get(name, {}) for name in (FIRST, SECOND))
    winning = {FIRST: first, SECOND: second}.get(one.winner, {})
    return [
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.created_at)),
        one.contest,
        one.held_out_row,
        one.details.get("prompt"),
        first.get("label", one.first),
        second.get("label", one.second),
        first.get("text"),
        second.get("text"),
        one.shown_left,
        one.winner,
        winning.get("label", ""),
        one.details.get("temperature"),
        first.get("weights"),
        second.get("weights"),
        one.id,
    ]


@dataclass(frozen=True)
class _Turn:
    """A row whose turn it is: its place among `rows` from 1, how often it was voted on, what the sides are asked."""

    row: HeldOutRow
    number: int
    rows: int
    times: int
    key: str
    requests: list[SideRequest]


def _turn(contest: Contest, leave_out: Collection[int]) -> _Turn:
    adapter = adapters.get(contest.adapter_id)
    rows = _prompts(adapter.dataset_id, adapter.base_model_id)
    settled = settle(contest.sides, adapter)
    key = contest.key_with(settled, adapter)
    times = Counter(votes.rows_asked(contest.adapter_id, key))
    order = sorted(range(len(rows)), key=lambda at: (rows[at].row in leave_out, times[rows[at].row], at))
    for place in order:
        row = rows[place]
        if contest.temperature == 0 and times[row.row]:
            continue
        messages = behind(row.messages, shared_system(adapter.dataset_id))
        requests = requests_for(
            contest.sides, adapter, adapter.base_model_id, messages, adapter.strength, row.row, settled
        )
        # One that a side can never read would be asked in vain for ever, as its turn would stay.
        if all(fits(adapter.base_model_id, one.messages, ROOM_FOR_AN_ANSWER) for one in requests):
            return _Turn(row, place + 1, len(rows), times[row.row], key, requests)
    if contest.temperature == 0 and times:
        raise StudioError(ALL_VOTED, AT_ANOTHER_TEMPERATURE)
    raise StudioError(
        f"No examples of the adapter “{adapter.name}” were kept aside that "
        f"{'both sides can read' if rows else 'its base model can be asked'}.",
        "Train with some held-out examples, then compare here."
        if not rows
        else "Choose other sides, or shorten the instruction on the scorecard.",
    )


@lru_cache(maxsize=4)
def _prompts(dataset_id: str, base_model_id: str) -> list[HeldOutRow]:
    """The rows that are asked in turn; a version of a dataset never changes, so read once."""
    rows = [row for row in rows_of(dataset_id, "held_out", MOST_PROMPTS) if row.messages]
    rows = [row for row in rows if row.messages[-1]["role"] == "user" and row.prompt.strip()]
    folder = catalogue.find(base_model_id).folder
    if folder is None:
        raise StudioError(
            f"The base model “{base_model_id}” is not on this computer.", "Fetch it first, on the Model page."
        )
    return that_fit(folder, rows, behind([], shared_system(dataset_id)))


def _rank(side: str) -> tuple[int, str]:
    """The order of sides: those with names of their own as everywhere, then adapters."""
    return (NAMED_SIDES.index(side), "") if side in NAMED_SIDES else (len(NAMED_SIDES), side)
