"""What may be given for one setting, as text from a form or as JSON, and what it then means."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from storage.errors import StudioError

_MODULE_NAME = re.compile(r"[\w.]+")
_MOST_VALUES = 16


def number(name: str, value: Any, low: float, high: float, whole: bool) -> float | int:
    """A number from `low` to `high`, also given as text ("1e-4").

    Raises:
        StudioError: it is something else; the remedy names the range.
    """
    kind = "a whole number" if whole else "a number"
    remedy = f"Give {kind} from {low:,g} to {high:,g}." if whole else f"Give {kind} from {low:g} to {high:g}."
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if math.isnan(found) or not low <= found <= high or (whole and found != int(found)):
        raise StudioError(f"{name} cannot be {value!r}.", remedy)
    return int(found) if whole else found


def numbers(name: str, value: Any, low: float, high: float, whole: bool) -> tuple[float | int, ...]:
    """Several numbers, given as a list, as text ("2, 4, 8, 16") or as one number; each counts once.

    Raises:
        StudioError: one of them is none, or they are too many.
    """
    parts = [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    found = tuple(dict.fromkeys(number(name, part, low, high, whole) for part in parts))
    if len(found) > _MOST_VALUES:
        raise StudioError(f"{name} has {len(found)} values.", f"Give at most {_MOST_VALUES}.")
    return found


def yes_or_no(name: str, value: Any) -> bool:
    """True or false, also given as text ("true").

    Raises:
        StudioError: it is neither.
    """
    answers = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    answer = value if isinstance(value, bool) else answers.get(str(value).strip().lower())
    if answer is None:
        raise StudioError(f"{name} cannot be {value!r}.", "Give true or false.")
    return answer


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of the choices.

    Raises:
        StudioError: it is none of them; the remedy names them.
    """
    if value not in choices:
        raise StudioError(f"{name} cannot be {value!r}.", f"Choose one of {', '.join(choices)}.")
    return str(value)


def module_names(name: str, value: Any) -> str | tuple[str, ...]:
    """A preset, or names of modules as a list or as text ("q_proj, v_proj").

    Raises:
        StudioError: it is neither.
    """
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not names or not all(map(_is_module_name, names)):
        raise StudioError(
            f"{name} cannot be {value!r}.",
            'Give "auto", a preset (query_value, attention, all_linear) or a list of names (["q_proj"]).',
        )
    # A single word may be a preset ("attention"); who chooses the matrices knows.
    return names[0] if isinstance(value, str) and len(names) == 1 else tuple(names)


def layer_range(name: str, value: Any) -> str:
    """ "all", one layer ("7") or a range of them ("4-11"), without spaces.

    Raises:
        StudioError: it is none of these.
    """
    text = str(value).strip().replace(" ", "")
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if text != "all" and (match is None or int(match[1]) > int(match[2] or match[1])):
        raise StudioError(
            f"{name} cannot be {value!r}.", 'Give "all", one layer such as "7", or a range such as "4-11".'
        )
    return text


def rank_pattern(name: str, value: Any, highest: int) -> dict[str, int]:
    """Module name → rank, given as a mapping or as text ("q_proj=4, v_proj=16").

    Raises:
        StudioError: it cannot be read, a module stands there twice, or a rank is out of range.
    """
    given = list(value.items()) if isinstance(value, Mapping) else _pairs(value)
    named = [module for module, _ in given]
    if not all(map(_is_module_name, named)) or len(set(named)) < len(named):
        raise StudioError(
            f"{name} cannot be {value!r}.",
            "Give each module once with its rank, such as q_proj=4, v_proj=16.",
        )
    return {
        module: int(number(f"{name} of {module}", rank, 1, highest, whole=True)) for module, rank in given
    }


def adapter_id(name: str, value: Any) -> str:
    """The id of an adapter; whether there is one is known to `storage.adapters`.

    Raises:
        StudioError: no adapter could be called so.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not re.fullmatch(r"[\w-]{1,64}", text):
        raise StudioError(f"{name} cannot be {value!r}.", "Give the id of an earlier adapter.")
    return text


def _is_module_name(name: Any) -> bool:
    return isinstance(name, str) and _MODULE_NAME.fullmatch(name) is not None


def _pairs(value: Any) -> list[tuple[str, str]]:
    """The parts of "q_proj=4, v_proj=16"; what is no text of this form becomes a name that no module has."""
    parts = [part for part in str(value).split(",") if part.strip()]
    split = [part.partition("=") for part in parts]
    return [(module.strip(), rank.strip()) for module, _, rank in split] or [("", "")]
