"""Everything a user may set about a training run, written once for form, endpoints, saved runs and checks.

Free of torch, because the page process imports it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from storage.errors import StudioError

PRECISIONS = ("auto", "fp32", "bf16", "nf4")
LARGEST_RANK = 1024
SMALL_MODEL_PARAMETERS = 400_000_000
LONGEST_FITTED_ROW_TOKENS = 4096
STEPS_PER_EPOCH = 60
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
) -> Any:
    return field(
        default=default,
        metadata={
            "label": label,
            "help": help,
            "unit": unit,
            "minimum": minimum,
            "maximum": maximum,
            "choices": choices,
        },
    )


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
        "The change is scaled by alpha / rank. Empty: twice the rank.",
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
    held_out_share: float = _setting(
        0.1,
        "Kept for the test (held out)",
        "Share of the examples that is never trained on, to see honestly whether it works; what was kept"
        " aside when they were added always is.",
        "share",
        0,
        0.5,
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
        "auto picks bf16 where the hardware computes in it, else fp32; nf4 saves memory on NVIDIA GPUs.",
        choices=PRECISIONS,
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
        if isinstance(self.target_modules, tuple):
            values["target_modules"] = list(self.target_modules)
        return values


def from_json(values: Mapping[str, Any]) -> TrainingSettings:
    """Checked settings from a form, an endpoint or a saved run.

    Empty text, "auto" and null stand for the default. Numbers may come as text ("1e-4").

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
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if value is None or (isinstance(value, str) and value.strip() in ("", "auto")):
            continue
        checked[name] = _checked(fields[name], value)
    return TrainingSettings(**checked)


def _checked(entry: dataclasses.Field[Any], value: Any) -> Any:
    if entry.name == "target_modules":
        return _module_names(value)
    if entry.name == "layers":
        return _layer_range(value)
    choices = entry.metadata["choices"]
    if choices is not None:
        if value not in choices:
            raise StudioError(f"{entry.name} cannot be {value!r}.", f"Choose one of {', '.join(choices)}.")
        return value
    low, high = entry.metadata["minimum"], entry.metadata["maximum"]
    return _number(entry.name, value, low, high, whole="int" in str(entry.type))


def _number(name: str, value: Any, low: float, high: float, whole: bool) -> float | int:
    kind = "a whole number" if whole else "a number"
    remedy = f"Give {kind} from {low:,g} to {high:,g}." if whole else f"Give {kind} from {low:g} to {high:g}."
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number) or not low <= number <= high or (whole and number != int(number)):
        raise StudioError(f"{name} cannot be {value!r}.", remedy)
    return int(number) if whole else number


def _module_names(value: Any) -> str | tuple[str, ...]:
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if (
        not isinstance(names, (list, tuple))
        or not names
        or not all(isinstance(name, str) and re.fullmatch(r"[\w.]+", name) for name in names)
    ):
        raise StudioError(
            f"target_modules cannot be {value!r}.",
            'Give "auto", a preset (query_value, attention, all_linear) or a list of names (["q_proj"]).',
        )
    # A single word may be a preset ("attention"); who chooses the matrices knows.
    return names[0] if isinstance(value, str) and len(names) == 1 else tuple(names)


def _layer_range(value: Any) -> str:
    text = str(value).strip().replace(" ", "")
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if text != "all" and (match is None or int(match[1]) > int(match[2] or match[1])):
        raise StudioError(
            f"layers cannot be {value!r}.", 'Give "all", one layer such as "7", or a range such as "4-11".'
        )
    return text


def check_rank(value: Any, shape: HasHiddenSize | None = None) -> int:
    """The rank as a whole number from 1 to the model's width (beyond it, LoRA saves nothing).

    Raises:
        StudioError: it is something else; the remedy names the range.
    """
    highest = LARGEST_RANK if shape is None else min(LARGEST_RANK, shape.hidden_size)
    return int(_number("rank", value, 1, highest, whole=True))


def fitted(
    settings: TrainingSettings,
    train_token_lengths: Sequence[int],
    *,
    rank: int = 16,
    model_parameters: int | None = None,
    context_tokens: int | None = None,
) -> TrainingSettings:
    """The settings with every automatic value filled in (but `max_steps`, where None means no limit).

    - max_tokens: the longest example, as far as the model reads (`context_tokens`), at most 4,096;
    - epochs: 5 for up to 40 examples, 4 up to 150, 3 up to 400, 2 up to 5,000, then 1;
    - tokens_per_step: about 60 steps a pass, between 256 and 16,384 tokens;
    - learning rate: 5e-4 for models up to 0.4 B with rank up to 64, else 2e-4;
    - alpha: twice the rank, so that the scale (alpha / rank) and with it the learning rate suit every rank.
    """
    longest = max(train_token_lengths, default=16)
    max_tokens = settings.max_tokens or max(16, min(longest, LONGEST_FITTED_ROW_TOKENS))
    max_tokens = min(max_tokens, context_tokens or max_tokens)
    rows = len(train_token_lengths)
    tokens = sum(min(length, max_tokens) for length in train_token_lengths)
    per_step = min(max(tokens // STEPS_PER_EPOCH // 64 * 64, 256), 16_384)
    is_small = model_parameters is not None and model_parameters <= SMALL_MODEL_PARAMETERS and rank <= 64
    return dataclasses.replace(
        settings,
        max_tokens=max_tokens,
        epochs=settings.epochs or next((epochs for limit, epochs in EPOCHS_BY_ROWS if rows <= limit), 1.0),
        tokens_per_step=settings.tokens_per_step or per_step,
        learning_rate=settings.learning_rate or (5e-4 if is_small else 2e-4),
        alpha=settings.alpha or 2 * rank,
    )
