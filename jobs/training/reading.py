"""A dataset's tokens as the examples of one run: which are trained on, which are held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.held_out import more_held_out
from jobs.datasets.tokens import HELD_OUT, TRAIN, Tokens
from jobs.training.examples import NO_ANSWER, Examples, LeftOut, some

Places = NDArray[np.int64]


def split(
    found: Tokens, dataset_id: str, held_out_share: float, train_share: float = 1.0
) -> tuple[Places, Places]:
    """The places of the rows to train on and of those held out.

    Held out are all that were at import, and for a share larger than that one's more, but never rows that were
    added later. With a `train_share` below 1 the others are a fixed draw, and a smaller draw lies within a larger.
    """
    train, held_out = found.of_split(TRAIN), found.of_split(HELD_OUT)
    wanted = more_held_out(dataset_id, held_out_share)
    more = np.isin(found.rows["row"][train], np.fromiter(wanted, np.int64, len(wanted)))
    return drawn(train[~more], train_share), np.concatenate([held_out, train[more]])


def drawn(places: Places, share: float) -> Places:
    """A fixed draw of `share` of the places, in their order; at least one of them."""
    if share >= 1:
        return places
    count = max(1, round(share * len(places)))
    return np.sort(np.random.default_rng(0).permutation(places)[:count])


def examples_of(found: Tokens, places: Places) -> tuple[Examples, list[LeftOut]]:
    """The rows at these places up to what is learned last, and those of which nothing can be learned.

    Raises:
        StudioError: not a single one can.
    """
    used = found.rows["used"].astype(np.int64)
    sources = [(source.token_ids, source.learned) for source in found.sources]
    rows = found.rows["row"].astype(np.int64)
    learned = used[places] > 1
    examples = Examples(sources, found.source, found.starts, used, rows).taken(places[learned])
    left_out = [
        LeftOut(rows.item(place), found.reason(place) or NO_ANSWER) for place in places[~learned].tolist()
    ]
    some(examples, left_out)
    return examples, left_out
