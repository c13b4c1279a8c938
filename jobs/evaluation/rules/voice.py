"""Rules about who speaks, “we” or “I”, and about contractions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from jobs.datasets.checks.languages import name_of
from jobs.datasets.checks.texts import words
from jobs.evaluation.rules import texts
from jobs.evaluation.rules.examples import Examples
from jobs.evaluation.rules.parameters import choice_in, nothing
from jobs.evaluation.rules.rule import Field, Parameters, Rule, kind

# person → language → its words; a word with an apostrophe counts by what stands before it: "we're", "j'ai".
PERSONS = {
    "i": {
        "en": words("i me my mine myself"),
        "de": words("ich mich mir mein meine meinem meinen meiner meines"),
        "fr": words("je j me m mon ma mes moi"),
        "es": words("yo mi mis mí conmigo"),
        "it": words("io mi mio mia miei mie"),
        "nl": words("ik mij mijn"),
    },
    "we": {
        "en": words("we us our ours ourselves"),
        "de": words("wir uns unser unsere unserem unseren unserer unseres"),
        "fr": words("nous notre nos"),
        "es": words("nosotros nosotras nuestro nuestra nuestros nuestras nos"),
        "it": words("noi nostro nostra nostri nostre ci"),
        "nl": words("wij we ons onze"),
    },
}
NAMES = {
    "i": {"en": "I", "de": "ich", "fr": "je", "es": "yo", "it": "io", "nl": "ik"},
    "we": {"en": "we", "de": "wir", "fr": "nous", "es": "nosotros", "it": "noi", "nl": "wij"},
}
_CONTRACTED = re.compile(
    r"\b(?:\w+n't|(?:i|you|we|they|he|she|it|that|there|what|who|here|let)'(?:m|re|ve|ll|d|s))\b"
)
_IN_FULL = re.compile(
    r"\b(?:i am|(?:you|we|they) (?:are|have|will)|(?:it|that|there|he|she) is|i (?:will|have)|let us|cannot|"
    r"(?:do|does|did|is|are|was|were|can|will|would|should|could|have|has) not)\b"
)
# Where the other person speaks in so many answers, that this one never does is a choice.
OFTEN = 0.4
FEWEST_IN_FULL = 10


def contracted(text: str) -> bool:
    """Whether an English text has a contraction, such as “it's” or “don't”."""
    return bool(_CONTRACTED.search(texts.plain(text)))


def speaks(person: str, language: str, text: str) -> bool:
    """Whether a text says “I” (or “we”) in that language, in any of its cases."""
    return not PERSONS[person][language].isdisjoint(texts.heads_of(text))


def _checked_person(parameters: Parameters) -> dict[str, Any]:
    language = choice_in({"language": "en", **parameters}, "language", "Language", tuple(NAMES["i"]))
    return {"person": choice_in(parameters, "person", "Person", tuple(PERSONS)), "language": language}


def _person(parameters: Parameters) -> str:
    return NAMES[parameters["person"]][parameters["language"]]


_PERSON_FIELDS = (
    Field("person", "Person", "choice", (("I", "i"), ("we", "we")), "we"),
    Field("language", "Language", "choice", tuple((name_of(code), code) for code in NAMES["i"]), "en"),
)
SPEAKS_AS = kind(
    name="speaks_as",
    label="Speaks as “we” or “I”",
    help="The answer says “we” (or us, our), or “I” (or me, my), in its language.",
    check=lambda parameters, text: speaks(parameters["person"], parameters["language"], text.answer),
    words=lambda parameters: f"speaks as “{_person(parameters)}”",
    imperative=lambda parameters: f"Speak as “{_person(parameters)}”.",
    parameters=_PERSON_FIELDS,
    checked=_checked_person,
    once_for="person",
)
NEVER_SPEAKS_AS = kind(
    name="never_speaks_as",
    label="Never says “I” or “we”",
    help="Not in any of its cases: neither “I” nor “me” nor “my”.",
    check=lambda parameters, text: not speaks(parameters["person"], parameters["language"], text.answer),
    words=lambda parameters: f"never says “{_person(parameters)}”",
    imperative=lambda parameters: f"Never say “{_person(parameters)}”.",
    parameters=_PERSON_FIELDS,
    checked=_checked_person,
    once_for="person",
)
CONTRACTIONS = kind(
    name="contractions",
    label="Uses contractions",
    help="At least one such as “it's” or “don't”; for English answers.",
    check=lambda parameters, text: contracted(text.answer),
    words=lambda parameters: "contractions such as “it's” or “don't”",
    imperative=lambda parameters: "Use contractions such as “it's” and “don't”.",
    checked=nothing,
)
NO_CONTRACTIONS = kind(
    name="no_contractions",
    label="Uses no contractions",
    help="Such as “it's” or “don't”; for English answers.",
    check=lambda parameters, text: bool(text.answer.strip()) and not contracted(text.answer),
    words=lambda parameters: "no contractions: “it is”, not “it's”",
    imperative=lambda parameters: "Use no contractions: write “it is” and “do not”, not “it's” and “don't”.",
    checked=nothing,
)


def mined(examples: Examples) -> Iterator[Rule]:
    """Who speaks, in the language of the answers; nothing of other languages."""
    language = examples.language
    if language in NAMES["i"]:
        yield from _mined_persons(examples, language)
    if language != "en":
        return
    if examples.usual(contracted):
        yield CONTRACTIONS.mined()
    elif examples.prose and examples.never(contracted):
        in_full = examples.count(lambda answer: _IN_FULL.search(texts.plain(answer)))
        if in_full >= FEWEST_IN_FULL:
            yield NO_CONTRACTIONS.mined()


def _mined_persons(examples: Examples, language: str) -> Iterator[Rule]:
    for person, other in (("i", "we"), ("we", "i")):
        says, says_other = partial(speaks, person, language), partial(speaks, other, language)
        if examples.usual(says):
            yield SPEAKS_AS.mined(person=person, language=language)
        elif examples.share(says_other) >= OFTEN and examples.never(says):
            yield NEVER_SPEAKS_AS.mined(person=person, language=language)
