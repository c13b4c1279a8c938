"""A rule: one yes-or-no question about an answer, as plain JSON that can be stored, shown and edited."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from storage.errors import StudioError

Parameters = Mapping[str, Any]
SOURCES = ("mined", "user")


@dataclass(frozen=True)
class Text:
    """What a rule judges: an answer, the wanted answer ("" where nobody knows it), and what was asked."""

    answer: str
    reference: str
    prompt: str


@dataclass(frozen=True)
class Field:
    """One field of the form for a kind of rule; `type` is "text", "number", "choice" or "lines"."""

    name: str
    label: str
    type: str = "text"
    choices: tuple[tuple[str, str], ...] = ()  # (label, value)
    default: Any = ""


@dataclass(frozen=True)
class Kind:
    """What all rules of one kind share."""

    name: str
    label: str
    check: Callable[[Parameters, Text], bool]
    words: Callable[[Parameters], str]
    # The rule as a sentence of an instruction; "" where it says nothing about how to answer.
    imperative: Callable[[Parameters], str] = lambda parameters: ""
    help: str = ""  # for somebody who adds one
    parameters: tuple[Field, ...] = ()
    checked: Callable[[Parameters], dict[str, Any]] = dict  # cleaned, or StudioError in words
    needs_wanted: bool = False
    # Mined at most once for a dataset: its name stays the same while its numbers follow the examples.
    single: bool = False
    # Mined at most once for each value of this parameter: its name ends with it.
    once_for: str = ""

    def make(self, **parameters: Any) -> Rule:
        """A rule of a user's own. Raises StudioError where a parameter is missing or makes no sense."""
        return self._rule(parameters, "user")

    def mined(self, **parameters: Any) -> Rule:
        """A rule found in the examples."""
        return self._rule(parameters, "mined")

    def _rule(self, parameters: Parameters, source: str) -> Rule:
        clean = self.checked(parameters)
        return Rule(self.name, clean, whole(self.words(clean)), source)


def whole(text: str) -> str:
    """The text with “?” for half characters, as a field of JSON may hold: nobody can show or read them."""
    return text.encode("utf-8", "replace").decode()


ALL_KINDS: dict[str, Kind] = {}


def kind(**facts: Any) -> Kind:
    """A kind, known by its name from now on."""
    new = Kind(**facts)
    ALL_KINDS[new.name] = new
    return new


@dataclass(frozen=True)
class Rule:
    """One yes-or-no question about an answer; `passes` answers it."""

    kind: str
    parameters: Parameters = field(hash=False)
    words: str
    source: str = "mined"
    replaces: str = ""  # the name of the mined rule that a user has edited: it stays the rule's name

    @property
    def name(self) -> str:
        """Stable: the kind, with letters that stand for the parameters where there may be several of it."""
        if self.replaces:
            return self.replaces
        about = ALL_KINDS[self.kind]
        if not self.parameters or (self.source == "mined" and about.single):
            return self.kind
        if self.source == "mined" and about.once_for:
            return f"{self.kind}-{self.parameters[about.once_for]}"
        plain = json.dumps(self.parameters, sort_keys=True, ensure_ascii=False)
        return f"{self.kind}-{blake2b(plain.encode('utf-8', 'surrogatepass'), digest_size=3).hexdigest()}"

    @property
    def needs_wanted(self) -> bool:
        """Whether it compares with the wanted answer, so that it says nothing about a prompt of one's own."""
        return ALL_KINDS[self.kind].needs_wanted

    def passes(self, answer: str, reference: str, prompt: str = "") -> bool:
        """Whether the answer keeps the rule."""
        return ALL_KINDS[self.kind].check(self.parameters, Text(answer, reference, prompt))

    def imperative(self) -> str:
        """The rule as a sentence that tells somebody to keep it."""
        return whole(ALL_KINDS[self.kind].imperative(self.parameters))

    def as_json(self) -> dict[str, Any]:
        """The rule as plans and cards hold it."""
        plain = {
            "kind": self.kind,
            "parameters": dict(self.parameters),
            "words": self.words,
            "source": self.source,
        }
        return plain | ({"replaces": self.replaces} if self.replaces else {})

    @classmethod
    def from_json(cls, plain: Any) -> Rule:
        """The rule that `as_json` wrote. Raises StudioError where it is none."""
        if not isinstance(plain, Mapping):
            raise StudioError(
                "A rule has to be an object with “kind” and “parameters”.", "Add the rule again."
            )
        name = plain.get("kind")
        if not isinstance(name, str) or name not in ALL_KINDS:
            known = ", ".join(sorted(ALL_KINDS))
            raise StudioError(f"There is no kind of rule called “{name}”.", f"Choose one of: {known}.")
        parameters = plain.get("parameters", {})
        if not isinstance(parameters, Mapping):
            raise StudioError(
                f"The parameters of the rule “{name}” have to be an object.", "Add the rule again."
            )
        source = plain.get("source", "user")
        if source not in SOURCES:
            raise StudioError(
                f"A rule comes from {' or '.join(SOURCES)}, not from “{source}”.", "Correct it."
            )
        clean = ALL_KINDS[name].checked(parameters)
        words = str(plain.get("words") or "").strip() or ALL_KINDS[name].words(clean)
        return cls(name, clean, words, source, str(plain.get("replaces") or ""))
