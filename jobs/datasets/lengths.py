"""How long a dataset's rows are for one base model, and what of them training would not read or learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.base_models import catalogue
from jobs.datasets import child, token_files, tokens
from jobs.datasets.checks.problems import Problem, counted
from jobs.datasets.tokens import HELD_OUT, TRAIN
from jobs.generation.chat import ChatFormat
from jobs.training.settings import fitted_max_tokens
from storage.errors import StudioError

# Files of rows up to this size are counted at once, in about a tenth of a second; others in a process of their own.
AT_ONCE_BYTES = 200_000
_LEAVE_OUT = "Leave out"


@dataclass(frozen=True, eq=False)
class Counts:
    """The usable rows of a dataset, in its order, as one base model reads them.

    Attributes:
        rows: (rows,), their numbers.
        held_out: (rows,), whether they are kept aside.
        tokens: (rows,), how many each has up to the last learned one, which is all that training reads, or
            in all where none is learned; 0 where the model's template refuses it.
        learned: (rows,), how many of them the loss counts.
    """

    rows: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    learned: NDArray[np.int64]

    @cached_property
    def trained(self) -> NDArray[np.int64]:
        """The tokens of each row that can be trained on."""
        return self.tokens[~self.held_out & (self.learned > 0)]


def counts(dataset_id: str, model_id: str) -> Counts | None:
    """The counts, if they have been made for this base model; None if not, or while the model is not here.

    Raises StudioError when there is no such model, or the rows are gone.
    """
    folder = catalogue.find(model_id).folder
    return None if folder is None else _counts(tuple(tokens.keys(dataset_id, folder)))


def count(
    dataset_id: str,
    model_id: str,
    report: child.Report | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Counts:
    """The counts, made now where they are not there: small sets at once, others in a process of their own.

    Raises:
        StudioError: the model is not on this machine, the rows are gone, or the counting failed.
        Cancelled: `should_stop` said so.
    """
    folder = catalogue.find(model_id).folder
    if folder is None:
        raise StudioError(
            "Tokens can only be counted for a base model that is on this machine.",
            "Start a training with it, which fetches it, or choose another one.",
        )
    found = counts_at_once(dataset_id, model_id)
    if found is None:
        spec = {"dataset_id": dataset_id, "model_folder": str(folder)}
        with child.staging() as staged:
            child.run(
                "jobs.datasets.count_process",
                spec,
                staged,
                subject="Counting the tokens",
                report=report,
                should_stop=should_stop,
            )
        found = counts(dataset_id, model_id)
    if found is None:
        raise StudioError(
            "The rows are not those that were imported any more, so their tokens cannot be counted.",
            "Add the examples again.",
        )
    return found


def counts_at_once(dataset_id: str, model_id: str) -> Counts | None:
    """The counts where they are there or soon made (small sets); else None."""
    folder = catalogue.find(model_id).folder
    if folder is None:
        return None
    names = tokens.keys(dataset_id, folder)
    found = _counts(tuple(names))
    missing = [path for name, path in names.items() if not token_files.has(name)]
    if found is None and sum(path.stat().st_size for path in missing) <= AT_ONCE_BYTES:
        tokens.make(dataset_id, folder, chat_of(folder))
        found = _counts(tuple(names))
    return found


def chat_of(folder: Path) -> ChatFormat:
    """The tokenizer and template of a model folder, kept because reading them takes a while."""
    return _loaded(folder, (folder / "tokenizer.json").stat().st_mtime_ns)


def limit(dataset_id: str, model_id: str, max_tokens: int | None = None) -> int | None:
    """How many tokens of a row training would read, with `max_tokens` as asked for; None while not counted."""
    found = counts(dataset_id, model_id)
    return None if found is None else _limit(found, model_id, max_tokens)


def problems(dataset_id: str, model_id: str, max_tokens: int | None = None) -> list[Problem]:
    """Rows that are cut, and rows that teach nothing; none while the tokens are not counted."""
    model = catalogue.find(model_id)
    names = () if model.folder is None else tuple(tokens.keys(dataset_id, model.folder))
    found = _counts(names) if names else None
    if found is None:
        return []
    problems = _problems(names, _limit(found, model_id, max_tokens), _positions(model_id))
    if problems is None:  # the tokens are damaged, and deleted for that: not counted any more
        _problems.cache_clear()
    return list(problems or ())


@lru_cache(maxsize=8)
def _problems(names: tuple[str, ...], most: int, positions: int | None) -> list[Problem] | None:
    """What is wrong with the lengths of counted rows; None where their tokens are gone."""
    found = _counts(names)
    if found is None:
        return None
    long, kept = found.tokens > most, found.learned
    if long.any():
        learned = _learned_within(names, most)
        if learned is None:
            return None
        kept = learned
    problems = []
    if long.any():
        problems.append(_too_long(found, kept, long, most, positions))
    if not kept.all():
        problems.append(_nothing_to_learn(found, kept, most, _refusal(names)))
    return problems


def _too_long(
    found: Counts, kept: NDArray[np.int64], long: NDArray[np.bool_], most: int, positions: int | None
) -> Problem:
    own = found.tokens[long]
    lost, answers = int(own.sum()) - most * len(own), int((found.learned - kept)[long].sum())
    model_reads = positions is not None and most >= positions
    reader = "this model reads" if model_reads else "training reads"
    of_answers = f"{answers:,} of them of answers" if answers else "none of them of an answer"
    message = (
        f"{counted(len(own), 'row is', 'rows are')} longer than {reader} ({most:,} tokens): {lost:,} tokens of"
        f" {int(own.sum()):,} are cut, {of_answers}."
    )
    other = "choose a base model that reads more" if model_reads else "raise max_tokens (longest example)"
    return Problem(
        "too_long",
        "warning",
        found.rows[long].tolist(),
        message,
        f"Shorten them, {other}, or leave them out.",
        _LEAVE_OUT,
    )


def _nothing_to_learn(found: Counts, kept: NDArray[np.int64], most: int, refusal: str | None) -> Problem:
    nothing = kept == 0
    rows, total = found.rows[nothing].tolist(), len(found.rows)
    refused, cut = int((found.tokens[nothing] == 0).sum()), int((found.learned[nothing] > 0).sum())
    why = []
    if cut:
        why.append(f"{counted(cut, 'answer begins', 'answers begin')} after {most:,} tokens")
    if refused and refusal:
        why.append(f"{counted(refused, 'row is', 'rows are')} refused. {refusal.rstrip('.')}")
    if len(rows) > cut + refused:
        why.append(f"{counted(len(rows) - cut - refused, 'row has', 'rows have')} no answer")
    everything = len(rows) == total
    says = (
        f"0 of {total:,} rows contribute loss"
        if everything
        else f"{len(rows):,} of {total:,} rows contribute no loss"
    )
    return Problem(
        "nothing_to_learn",
        "error" if everything else "warning",
        rows,
        f"{says}: {'; '.join(why)}.",
        "Shorten what stands before the answer, raise max_tokens (longest example), or choose another base model.",
        "" if everything else _LEAVE_OUT,
    )


def _limit(found: Counts, model_id: str, max_tokens: int | None) -> int:
    return fitted_max_tokens(max_tokens, int(found.trained.max(initial=0)) or 16, _positions(model_id))


def _positions(model_id: str) -> int | None:
    shape = catalogue.find(model_id).shape
    return shape.positions if shape else None


@lru_cache(maxsize=8)
def _loaded(folder: Path, _changed_ns: int) -> ChatFormat:
    return ChatFormat.load(folder)


# The names are hashes of the content, so what they name never changes. What is not there may come, so it is not kept.
_known: dict[tuple[str, ...], Counts] = {}
_MOST_KNOWN = 8


def _counts(names: tuple[str, ...]) -> Counts | None:
    if not all(map(token_files.has, names)):  # never made, or evicted
        _known.pop(names, None)
        return None
    if names not in _known:
        found = tokens.read(names, (token_files.ROWS,))
        if found is None:
            return None
        usable = found.rows["split"] <= HELD_OUT
        records = found.rows[usable]
        while len(_known) >= _MOST_KNOWN:
            _known.pop(next(iter(_known)), None)
        _known[names] = Counts(
            records["row"].astype(np.int64),
            records["split"] != TRAIN,
            np.where(records["learned"] > 0, records["used"], found.lengths[usable]),
            records["learned"].astype(np.int64),
        )
    return _known.get(names)


def _learned_within(names: tuple[str, ...], most: int) -> NDArray[np.int64] | None:
    """(usable rows,), how many learned tokens are left of each row when it is cut; None without the tokens."""
    found = tokens.read(names, (token_files.ROWS, token_files.LEARNED))
    if found is None:
        return None
    usable = found.rows["split"] <= HELD_OUT
    kept = found.rows["learned"].astype(np.int64)
    for number, source in enumerate(found.sources):
        long = np.flatnonzero(usable & (found.source == number) & (found.rows["used"] > most))
        # The first token of a text is never counted by the loss.
        kept[long] = [
            np.count_nonzero(source.learned[start + 1 : start + most])
            for start in found.starts[long].tolist()
        ]
    return kept[usable]


def _refusal(names: tuple[str, ...]) -> str | None:
    """The template's own words about the first row that it refuses."""
    found = tokens.read(names, (token_files.ROWS,))
    refused = np.flatnonzero(found.rows["reason"] >= 0) if found else np.empty(0, np.int64)
    return found.reason(int(refused[0])) if found and len(refused) else None
