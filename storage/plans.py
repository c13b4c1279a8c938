"""How a user wants a dataset's adapters judged: rules, the written instruction, prompts that must not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from storage import datasets, files
from storage.errors import StudioError

# In the folder of a family's first version, beside `current`: all versions are judged alike.
PLAN_FILE = "evaluation.json"
PARTS = ("rules", "instruction", "must_not_change")
RULE_EDITS = ("off", "added", "edited")
MOST_PROMPTS = 200
MOST_RULES = 100
LONGEST_TEXT = 20_000
MOST_ASIDE = 100


def _no_edits() -> dict[str, Any]:
    return {"off": [], "added": [], "edited": {}}


@dataclass(frozen=True)
class Plan:
    """What the user has set about judging; whatever is left out is found by itself.

    `rules` has the edits: {"off": [names], "added": [rule], "edited": {name: rule}}. `instruction` is what the base
    model is told in writing, None where it is made from the rules.
    """

    rules: dict[str, Any] = field(default_factory=_no_edits)
    instruction: str | None = None
    must_not_change: list[str] = field(default_factory=list)


def get(dataset_id: str) -> Plan:
    """The plan of a dataset, whichever version is named; an empty one where the user has set nothing.

    A damaged one is put aside, so that it stops nothing.
    """
    path = _path(dataset_id)
    if path is None:
        return Plan()
    try:
        return _read(path)
    except StudioError:
        with _alone(dataset_id):
            return _read_or_put_aside(path)


def put_aside(dataset_id: str, plan: Plan) -> Plan:
    """Put a plan aside that turned out to make no sense, unless another one is there by now; returns what is there.

    Raises StudioError when there is no such dataset.
    """
    with _alone(dataset_id) as folder:
        present = _read_or_put_aside(folder / PLAN_FILE)
        if present != plan:
            return present
        _rename(folder / PLAN_FILE)
        return Plan()


def aside(dataset_id: str) -> Path | None:
    """Where the newest plan lies that was put aside, until the user sets something again; else None."""
    path = _path(dataset_id)
    if path is None or path.exists():
        return None
    found = [one for number in range(1, MOST_ASIDE) if (one := _aside(path, number)).exists()]
    return found[-1] if found else None


def _read(path: Path) -> Plan:
    try:
        return _checked(files.read_json(path))
    except (FileNotFoundError, NotADirectoryError):
        return Plan()
    except RecursionError:
        raise _not_a_plan() from None


def _read_or_put_aside(path: Path) -> Plan:
    """For whoever holds the lock."""
    try:
        return _read(path)
    except StudioError:
        _rename(path)
        return Plan()


def _rename(path: Path) -> None:
    """Give a plan another name, which no other one has; of very many, the last is overwritten."""
    free = (_aside(path, number) for number in range(1, MOST_ASIDE) if not _aside(path, number).exists())
    path.rename(next(free, _aside(path, MOST_ASIDE - 1)))


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.damaged-{number}")


def put(dataset_id: str, plan: Plan) -> Plan:
    """Keep a plan for all versions of a dataset; returns it as it is kept.

    Raises StudioError when there is no such dataset, or for a plan that says something that cannot be.
    """
    return change(dataset_id, **asdict(plan))


def change(dataset_id: str, **parts: Any) -> Plan:
    """Set some parts of a dataset's plan and leave the others as they are, whoever else changes them now.

    Raises StudioError as `put`.
    """
    with _alone(dataset_id) as folder:
        return _keep(folder, replace(_read_or_put_aside(folder / PLAN_FILE), **parts))


@contextmanager
def _alone(dataset_id: str) -> Iterator[Path]:
    """The folder of the plan, which nobody else changes meanwhile."""
    family = datasets.get(dataset_id).family
    folder = files.dataset_folder(family)
    if not folder.is_dir():
        raise StudioError(f"The folder of the dataset {dataset_id!r} is gone.", "Add your examples again.")
    with files.locked(f"plan-{family}"):
        yield folder


def _keep(folder: Path, plan: Plan) -> Plan:
    checked = _checked(asdict(plan))
    files.write_json(folder / PLAN_FILE, asdict(checked))
    return checked


def edit_rules(dataset_id: str, edit: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Plan:
    """Let `edit` make new edits of the rules from those of now, which nobody else changes meanwhile.

    Raises StudioError as `put`.
    """
    with _alone(dataset_id) as folder:
        present = _read_or_put_aside(folder / PLAN_FILE)
        return _keep(folder, replace(present, rules=dict(edit(_no_edits() | present.rules))))


def put_parts(dataset_id: str, parts: Any) -> Plan:
    """As `change`, with parts that come from outside.

    Raises StudioError as `put`, and for what is no object of a plan's parts.
    """
    if not isinstance(parts, Mapping):
        raise _not_a_plan()
    _checked({**asdict(Plan()), **parts})
    return change(dataset_id, **parts)


def _path(dataset_id: str) -> Path | None:
    """Where the plan lies; None when the dataset is gone, as an adapter may outlive its examples."""
    try:
        return files.dataset_folder(datasets.get(dataset_id).family) / PLAN_FILE
    except StudioError:
        return None


def _checked(values: Any) -> Plan:
    if not isinstance(values, Mapping) or not set(values) <= set(PARTS):
        raise _not_a_plan()
    plan = replace(Plan(), **values)
    return Plan(_rules(plan.rules), _instruction(plan.instruction), _prompts(plan.must_not_change))


def _not_a_plan() -> StudioError:
    return StudioError("This is not a plan of an evaluation.", f"Give an object with {', '.join(PARTS)}.")


def _rules(edits: Any) -> dict[str, Any]:
    """The edits of rules with every part there; what a rule may be is known to whoever applies them."""
    edits = {} if edits is None else edits
    if not isinstance(edits, Mapping) or not set(edits) <= set(RULE_EDITS):
        raise StudioError(
            "The edits of the rules are not an object with off, added and edited.", "Give that."
        )
    off, added, edited = edits.get("off", []), edits.get("added", []), edits.get("edited", {})
    if not isinstance(off, list) or not all(isinstance(name, str) for name in off):
        raise StudioError(
            "“off” is not a list of names of rules.", "Give the names of the rules to leave out."
        )
    if not isinstance(added, list) or not all(isinstance(rule, Mapping) for rule in added):
        raise StudioError("“added” is not a list of rules.", "Give each rule as an object.")
    if not isinstance(edited, Mapping) or not all(isinstance(rule, Mapping) for rule in edited.values()):
        raise StudioError("“edited” is not an object of rules by name.", "Give each rule as an object.")
    if len(off) + len(added) + len(edited) > MOST_RULES * 3 or len(added) > MOST_RULES:
        raise StudioError("There are too many rules.", f"Add at most {MOST_RULES} of your own.")
    return {"off": list(dict.fromkeys(off)), "added": [*added], "edited": {**edited}}


def _instruction(text: Any) -> str | None:
    if text is not None and not isinstance(text, str):
        raise StudioError("The instruction is not a text.", "Write what the base model should be told.")
    if text is not None and len(text) > LONGEST_TEXT:
        raise StudioError(
            f"The instruction has {len(text):,} characters.", f"Write at most {LONGEST_TEXT:,} characters."
        )
    return text.strip() or None if text else None


def _prompts(prompts: Any) -> list[str]:
    prompts = [] if prompts is None else prompts
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise StudioError(
            "The prompts that must not change are not a list of texts.", "Give one text for each."
        )
    kept = list(dict.fromkeys(prompt.strip() for prompt in prompts if prompt.strip()))
    if len(kept) > MOST_PROMPTS:
        raise StudioError(
            f"There are {len(kept)} prompts that must not change.", f"Keep the {MOST_PROMPTS} most telling."
        )
    for number, prompt in enumerate(kept, 1):
        if len(prompt) > LONGEST_TEXT:
            raise StudioError(
                f"Prompt {number} of those that must not change has {len(prompt):,} characters.",
                f"Shorten it to {LONGEST_TEXT:,} characters.",
            )
    return kept
