"""Which run a saved state is of: a hash of each part that the run is made of."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jobs.training.examples import Example
from storage.errors import StudioError

# Settings that came after the first checkpoints, by what a run without them did; None changes no run at all.
CAME_LATER: dict[str, Any] = {"train_share": 1.0, "scorecard": None}
SETTINGS, STEPS = "the settings", "the order of the steps"


def fingerprint(
    settings: Mapping[str, Any],
    plan: Sequence[Sequence[int]],
    examples: Sequence[Example],
    held_out: Sequence[Example],
    base_model: Mapping[str, str],
) -> dict[str, str]:
    """The SHA-256 of each part of a run, by the words that name the part.

    Args:
        settings: plain JSON, with those of the training under "settings".
        plan: the rows of each step.
        base_model: hashes of what it is made of, by name ("weights", "config.json").
    """
    return {
        **{f"the base model's {name}": _sha256(value) for name, value in base_model.items()},
        "the examples": _sha256_of(examples),
        "the held-out examples": _sha256_of(held_out),
        SETTINGS: _sha256(json.dumps(_as_before(settings), sort_keys=True)),
        STEPS: _sha256(json.dumps(plan)),
    }


def whole(parts: Mapping[str, str]) -> str:
    """One hash for all parts."""
    return _sha256(json.dumps(dict(parts), sort_keys=True))


def refuse_another_run(step: int, found: Mapping[str, str], own: Mapping[str, str]) -> None:
    """Raise a StudioError that names what changed since a state was saved at `step`, where anything did."""
    changed = [name for name in {**own, **found} if own.get(name) != found.get(name)]
    # The steps follow from all the others, and the settings are fitted to the model and the examples.
    for follows in (STEPS, SETTINGS):
        changed = [name for name in changed if name != follows] or changed
    if changed:
        raise StudioError(
            f"The checkpoint of step {step} is of another run: {' and '.join(changed)} changed since it was"
            " saved.",
            "Put back what was changed and start it again, or start a new run.",
        )


def _as_before(described: Mapping[str, Any]) -> dict[str, Any]:
    """Without the settings that change nothing, so that an older checkpoint still is of the same run."""
    settings = {
        name: value
        for name, value in described.get("settings", {}).items()
        if name not in CAME_LATER or CAME_LATER[name] not in (None, value)
    }
    return {**described, "settings": settings}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256_of(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256(f"{len(examples)} examples".encode())
    for example in examples:
        digest.update(len(example.token_ids).to_bytes(8, sys.byteorder))
        digest.update(example.token_ids.astype(np.int64).tobytes())
        digest.update(example.learned.tobytes())
    return digest.hexdigest()
