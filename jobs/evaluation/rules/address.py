"""Rules about how the reader is addressed: you, du or Sie, tu or vous."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from jobs.datasets.checks.languages import name_of
from jobs.datasets.checks.texts import words
from jobs.evaluation.rules import texts
from jobs.evaluation.rules.examples import SELDOM, Examples, surely
from jobs.evaluation.rules.parameters import choice_in
from jobs.evaluation.rules.rule import Field, Parameters, Rule, Text, kind

# form → (language, its words in lower case); "Sie" is told by its capital.
FORMS = {
    "you": ("en", words("you your yours yourself yourselves")),
    "du": ("de", words("du dich dir dein deine deinem deinen deiner deines")),
    "Sie": ("de", words("Sie Ihnen Ihr Ihre Ihrem Ihren Ihrer Ihres")),
    "tu": ("fr", words("tu te t toi ton ta tes")),
    "vous": ("fr", words("vous votre vos")),
    "tú": ("es", words("tú tu tus te ti contigo")),
    "usted": ("es", words("usted ustedes")),
    "je": ("nl", words("je jij jou jouw jullie")),
    "u": ("nl", words("u uw")),
}
RIVAL = {
    "du": "Sie",
    "Sie": "du",
    "tu": "vous",
    "vous": "tu",
    "tú": "usted",
    "usted": "tú",
    "je": "u",
    "u": "je",
}
# An address that comes in so many of the answers, where the other never does, is the examples' choice.
OFTEN = 0.4
FEWEST_ADDRESSED = 8
# What stands before the first word of a sentence or an item, which has a capital anyway.
_BEGINS = re.compile(r"(?:^|[.!?…:*•–-][\"”’»)]*)\s*$")


def addresses(form: str, text: str) -> bool:
    """Whether a text addresses its reader in that form."""
    if form == "Sie":
        return any(
            found[0] in FORMS["Sie"][1]
            and not _BEGINS.search(text[max(0, found.start() - 8) : found.start()])
            for found in texts.WORD.finditer(text)
        )
    return not FORMS[form][1].isdisjoint(texts.heads_of(text))


def _keeps_form(parameters: Parameters, text: Text) -> bool:
    form = parameters["form"]
    if addresses(form, text.answer):
        return form not in RIVAL or not addresses(RIVAL[form], text.answer)
    return parameters["always"] == "no" and not (form in RIVAL and addresses(RIVAL[form], text.answer))


def _checked_form(parameters: Parameters) -> dict[str, Any]:
    return {
        "form": choice_in(parameters, "form", "Form", tuple(FORMS)),
        "always": choice_in({"always": "yes", **parameters}, "always", "In every answer", ("yes", "no")),
    }


def _form_words(parameters: Parameters) -> str:
    form = parameters["form"]
    never = f", never “{RIVAL[form]}”" if form in RIVAL else ""
    if parameters["always"] == "no" and form in RIVAL:
        return f"“{form}” for the reader{never}"
    return f"addresses the reader as “{form}”{never}"


ADDRESS = kind(
    name="address",
    label="Addresses the reader as you, du, Sie, tu, vous …",
    help="The answer uses this form, and not the other one of its language.",
    check=_keeps_form,
    words=_form_words,
    imperative=lambda parameters: (
        f"Address the reader as “{parameters['form']}”"
        + (f", never as “{RIVAL[parameters['form']]}”." if parameters["form"] in RIVAL else ".")
    ),
    parameters=(
        Field(
            "form",
            "Form",
            "choice",
            tuple((f"{form} ({name_of(FORMS[form][0])})", form) for form in FORMS),
            "you",
        ),
        Field(
            "always",
            "In every answer",
            "choice",
            (("yes", "yes"), ("only where it addresses somebody", "no")),
            "yes",
        ),
    ),
    checked=_checked_form,
    single=True,
)


def mined(examples: Examples) -> Iterator[Rule]:
    """The form in which nearly all answers address their reader, or all that do address one."""
    total = len(examples.answers)
    for form, (spoken, _) in FORMS.items():
        if spoken != examples.language:
            continue
        count = examples.count(partial(addresses, form))
        if surely(count, total):
            yield ADDRESS.mined(form=form, always="yes")
        elif form in RIVAL and count >= max(FEWEST_ADDRESSED, OFTEN * total):
            rivals = examples.count(partial(addresses, RIVAL[form]))
            if rivals <= SELDOM * count:
                yield ADDRESS.mined(form=form, always="no")
