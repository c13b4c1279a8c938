"""Everything a user may set about a training run, written once for form, endpoints, saved runs and checks.

Free of torch, because the page process imports it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.training import checks
from storage.errors import StudioError

PRECISIONS = ("auto", "fp32", "bf16", "nf4")
LARGEST_RANK = 1024
SMALL_MODEL_PARAMETERS = 400_000_000
LONGEST_FITTED_ROW_TOKENS = 4096
STEPS_PER_EPOCH = 60
# The scale of rsLoRA is alpha / √rank, of LoRA alpha / rank: with these both are 2 at rank 16.
ALPHA_PER_RANK, RSLORA_ALPHA = 2, 8
MOST_TRIALS = 16
# (rows up to, epochs): few examples must be seen more often; many need one look.
EPOCHS_BY_ROWS = ((40, 5.0), (150, 4.0), (400, 3.0), (5000, 2.0))


class HasHiddenSize(Protocol):
    """The one fact about a model's shape that bounds the rank."""

    @property
    def hidden_size(self) -> int: ...


def _setting(
    default: Any,
    label: str,
    help: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    empty: str = "automatic",
) -> Any:
    """A field with what a form shows of it; `empty` says what leaving it empty means."""
    about = {
        "label": label,
        "help": help,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "empty": empty,
    }
    # A mapping cannot be a default itself: every settings object gets its own.
    return field(**{"default_factory" if default is dict else "default": default}, metadata=about)


@dataclass(frozen=True)
class TrainingSettings:
    """One training run's settings; None means "fitted to the data and the model" (see `fitted`)."""

    epochs: float | None = _setting(
        None,
        "Passes over the examples (epochs)",
        "How often each example is seen. Empty: fitted to the number of examples.",
        "passes",
        0.05,
        100,
    )
    max_steps: int | None = _setting(
        None,
        "At most (steps)",
        "Stop after this many steps even if passes remain. Empty: no limit.",
        "steps",
        1,
        1_000_000,
        empty="no limit",
    )
    learning_rate: float | None = _setting(
        None,
        "How fast it learns (learning rate)",
        "Higher learns faster; too high and the loss jumps or becomes NaN. Empty: fitted to the model.",
        "",
        1e-7,
        0.1,
    )
    tokens_per_step: int | None = _setting(
        None,
        "Examples per step (tokens)",
        "How many tokens are read before the weights move once. Smaller needs"
        " less memory. Empty: fitted to the data.",
        "tokens",
        16,
        1_048_576,
    )
    alpha: int | None = _setting(
        None,
        "Weight of the change (alpha)",
        "The change is scaled by alpha / rank. Empty: twice the rank, for every rank (8 with rsLoRA).",
        "",
        1,
        4096,
    )
    dropout: float = _setting(
        0.0,
        "Forgetting on purpose (dropout)",
        "Share of the adapter's inputs dropped in training; may help very small data.",
        "share",
        0,
        0.9,
    )
    target_modules: str | tuple[str, ...] = _setting(
        "auto",
        "Where it may change (target modules)",
        "auto (all linear layers), query_value, attention, all_linear, or names such as q_proj, v_proj.",
    )
    layers: str = _setting(
        "all",
        "Which layers",
        "all, one layer such as 7, or a range such as 4-11 (counted from 0).",
    )
    rank_pattern: Mapping[str, int] = _setting(
        dict,
        "Another rank for some modules",
        "Names with their ranks, such as q_proj=4, v_proj=16; all others keep the rank above.",
        "",
        1,
        LARGEST_RANK,
        empty="the same everywhere",
    )
    use_rslora: bool = _setting(
        False,
        "Steady at high ranks (rsLoRA)",
        "Scales the change by alpha / √rank, so that ranks above 32 learn as fast as they could.",
    )
    use_dora: bool = _setting(
        False,
        "Length and direction apart (DoRA)",
        "Learns how long each row of a matrix is beside where it points; better at low ranks, and slower.",
    )
    lora_plus_ratio: float = _setting(
        1.0,
        "How much faster B learns than A (LoRA+)",
        "B's learning rate is this many times A's; 16 often needs fewer steps. 1: both the same.",
        "times",
        1,
        64,
        empty="1",
    )
    start_from: str | None = _setting(
        None,
        "Go on from an earlier adapter (warm start)",
        "Starts with what that adapter has learned; it must be of the same base model, rank and modules.",
        empty="a fresh adapter",
    )
    try_ranks: tuple[int, ...] = _setting(
        (),
        "Ranks to try",
        "Several ranks such as 2, 4, 8, 16: all are trained, the best on held-out examples is kept.",
        "",
        1,
        LARGEST_RANK,
        empty="only the rank above",
    )
    try_learning_rates: tuple[float, ...] = _setting(
        (),
        "Learning rates to try",
        "Several rates such as 1e-4, 5e-4, each with every rank: the best on held-out examples is kept.",
        "",
        1e-7,
        0.1,
        empty="only one",
    )
    held_out_share: float = _setting(
        0.1,
        "Kept for the test (held out)",
        "Share of the examples that is never trained on, to see honestly whether it works; what was kept"
        " aside when they were added always is.",
        "share",
        0,
        0.5,
    )
    train_share: float = _setting(
        1.0,
        "Share of the examples to learn from",
        "Below 1, it learns from a fixed draw of the examples only: that tells whether more of them help.",
        "share",
        0.01,
        1,
    )
    seed: int = _setting(
        0,
        "Seed",
        "The same seed and data give the same run on the same machine.",
        "",
        0,
        2**31 - 1,
    )
    precision: str = _setting(
        "auto",
        "Number format (precision)",
        "auto picks bf16 where the hardware computes in it, else fp16 or fp32; nf4 saves memory on NVIDIA GPUs.",
        choices=PRECISIONS,
    )
    scorecard: bool = _setting(
        True,
        "Check what it learned (scorecard)",
        "When it is done, the adapter and the base model answer your held-out examples, and rules count.",
    )
    max_tokens: int | None = _setting(
        None,
        "Longest example",
        "Longer examples are cut at their end. Empty: the longest example, as far as the model can read.",
        "tokens",
        16,
        1_048_576,
    )

    def as_json(self) -> dict[str, Any]:
        """The settings as plain JSON, all fields."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@dataclass(frozen=True)
class Trial:
    """One of the adapters that a run trains; without a sweep there is only one.

    An earlier adapter that the run goes on from keeps its own alpha.
    """

    rank: int
    learning_rate: float
    alpha: int


def from_json(values: Mapping[str, Any]) -> TrainingSettings:
    """Checked settings from a form, an endpoint or a saved run.

    Empty text, "auto" and null stand for the default. Numbers may come as text ("1e-4"), lists and mappings
    too ("2, 4, 8", "q_proj=4").

    Raises:
        StudioError: an unknown name, or a value outside its range; the message names both.
    """
    fields = {entry.name: entry for entry in dataclasses.fields(TrainingSettings)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise StudioError(
            f"There is no setting named {', '.join(repr(name) for name in unknown)}.",
            f"The settings are {', '.join(fields)}.",
        )
    settings = TrainingSettings(
        **{
            name: _checked(fields[name], value)
            for name, value in values.items()
            if value is not None and not (isinstance(value, str) and value.strip() in ("", "auto"))
        }
    )
    count = len(settings.try_ranks or (0,)) * len(settings.try_learning_rates or (0,))
    if count > MOST_TRIALS:
        raise StudioError(
            f"try_ranks and try_learning_rates together make {count} adapters.",
            f"Try at most {MOST_TRIALS} at once.",
        )
    return settings


def _checked(entry: dataclasses.Field[Any], value: Any) -> Any:
    name, about, kind = entry.name, entry.metadata, str(entry.type)
    if about["choices"] is not None:
        return checks.one_of(name, value, about["choices"])
    if kind == "bool":
        return checks.yes_or_no(name, value)
    if name in _TEXT_CHECKS:
        return _TEXT_CHECKS[name](name, value)
    low, high = about["minimum"], about["maximum"]
    if name == "rank_pattern":
        return checks.rank_pattern(name, value, high)
    check = checks.numbers if kind.startswith("tuple") else checks.number
    return check(name, value, low, high, whole="int" in kind)


_TEXT_CHECKS = {
    "target_modules": checks.module_names,
    "layers": checks.layer_range,
    "start_from": checks.adapter_id,
}


def as_text(value: Any) -> str:
    """A setting's value as a form shows it and `from_json` reads it: "q_proj=4, v_proj=16", "2, 4, 8"."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={rank}" for name, rank in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def check_rank(value: Any, shape: HasHiddenSize | None = None) -> int:
    """The rank as a whole number from 1 to the model's width (beyond it, LoRA saves nothing).

    Raises:
        StudioError: it is something else; the remedy names the range.
    """
    highest = LARGEST_RANK if shape is None else min(LARGEST_RANK, shape.hidden_size)
    return int(checks.number("rank", value, 1, highest, whole=True))


def check_ranks(settings: TrainingSettings, rank: Any, shape: HasHiddenSize | None = None) -> int:
    """The rank, checked together with the ranks to try and those of single modules.

    Raises:
        StudioError: one of them is not a rank of this model.
    """
    for other in (*settings.try_ranks, *settings.rank_pattern.values()):
        check_rank(other, shape)
    return check_rank(rank, shape)


def trials(settings: TrainingSettings, rank: int) -> list[Trial]:
    """The adapters that a run trains side by side: every rank to try with every learning rate to try.

    Args:
        settings: fitted (see `fitted`).
        rank: of the only adapter, where no ranks are to be tried.
    """
    assert settings.learning_rate is not None  # fitted
    learning_rates = settings.try_learning_rates or (settings.learning_rate,)
    return [
        Trial(tried, learning_rate, settings.alpha or fitted_alpha(tried, settings.use_rslora))
        for tried, learning_rate in itertools.product(settings.try_ranks or (rank,), learning_rates)
    ]


def fitted_alpha(rank: int, use_rslora: bool = False) -> int:
    """The alpha whose scale suits the fitted learning rate at this rank.

    LoRA's scale is alpha / rank, so twice the rank keeps it at 2; rsLoRA's is alpha / √rank, which is made to
    suit every rank with the same alpha (arXiv 2312.03732, theorem 3.2).
    """
    return RSLORA_ALPHA if use_rslora else ALPHA_PER_RANK * rank


def fitted_max_tokens(asked: int | None, longest: int, context_tokens: int | None) -> int:
    """How many tokens of an example are read at most, where the longest one has `longest`."""
    max_tokens = asked or max(16, min(longest, LONGEST_FITTED_ROW_TOKENS))
    return min(max_tokens, context_tokens or max_tokens)


def fitted(
    settings: TrainingSettings,
    train_token_lengths: Sequence[int] | NDArray[np.int64],
    *,
    rank: int = 16,
    model_parameters: int | None = None,
    context_tokens: int | None = None,
) -> TrainingSettings:
    """The settings with the automatic values filled in, but `max_steps` (None: no limit).

    - max_tokens: the longest example, as far as the model reads (`context_tokens`), at most 4,096;
    - epochs: 5 for up to 40 examples, 4 up to 150, 3 up to 400, 2 up to 5,000, then 1;
    - tokens_per_step: about 60 steps a pass, between 256 and 16,384 tokens;
    - learning rate: 5e-4 for models up to 0.4 B with rank up to 64, else 2e-4; with LoRA+ it is the geometric
      mean of the rates of A and B. A sweep gets one for all its ranks, that of the highest;
    - alpha: see `fitted_alpha`. It stays None where it is not for this rank to say: with several ranks
      (`try_ranks`, `rank_pattern`) each has its own, and an earlier adapter (`start_from`) brings one.
    """
    lengths = np.asarray(train_token_lengths, np.int64)
    longest = int(lengths.max()) if len(lengths) else 16
    max_tokens = fitted_max_tokens(settings.max_tokens, longest, context_tokens)
    rows, tokens = len(lengths), int(np.minimum(lengths, max_tokens).sum())
    per_step = min(max(tokens // STEPS_PER_EPOCH // 64 * 64, 256), 16_384)
    highest = max(settings.try_ranks, default=rank)
    is_small = model_parameters is not None and model_parameters <= SMALL_MODEL_PARAMETERS and highest <= 64
    learning_rate = (5e-4 if is_small else 2e-4) / math.sqrt(settings.lora_plus_ratio)
    alpha = settings.alpha
    if alpha is None and not (settings.try_ranks or settings.rank_pattern or settings.start_from):
        alpha = fitted_alpha(rank, settings.use_rslora)
    return dataclasses.replace(
        settings,
        max_tokens=max_tokens,
        epochs=settings.epochs or next((epochs for limit, epochs in EPOCHS_BY_ROWS if rows <= limit), 1.0),
        tokens_per_step=settings.tokens_per_step or per_step,
        learning_rate=settings.learning_rate or learning_rate,
        alpha=alpha,
    )
