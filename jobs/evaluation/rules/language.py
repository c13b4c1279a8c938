"""Rules about the language of answers: always the same, or that of the question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from jobs.datasets.checks import languages
from jobs.datasets.checks.texts import normal
from jobs.evaluation.rules.examples import SHARE, Examples, surely
from jobs.evaluation.rules.parameters import choice_in, nothing
from jobs.evaluation.rules.rule import Field, Parameters, Rule, Text, kind
from jobs.evaluation.rules.texts import KEPT

# Questions in two languages at least: else nobody can tell whether it is the question's that is answered in.
FEWEST_OTHERS, LEAST_SHARE = 3, 0.1
# So many answers whose language is sure are in one by no accident.
FEWEST_TOLD = 6


@lru_cache(maxsize=KEPT)
def language_of(text: str) -> str:
    """The language's code, "" where the text is too short or not plainly in one."""
    return languages.language_of(text.strip(), normal(text))


def _in_language(parameters: Parameters, text: Text) -> bool:
    """Answers too short to tell pass: a name or a number is in every language."""
    return bool(text.answer.strip()) and language_of(text.answer) in ("", parameters["language"])


def _as_asked(parameters: Parameters, text: Text) -> bool:
    asked = language_of(text.prompt)
    return bool(text.answer.strip()) and (not asked or language_of(text.answer) in ("", asked))


LANGUAGE = kind(
    name="language",
    label="Is in a language",
    help="Answers too short to tell their language pass.",
    check=_in_language,
    words=lambda parameters: f"in {languages.name_of(parameters['language'])}",
    imperative=lambda parameters: f"Answer in {languages.name_of(parameters['language'])}.",
    parameters=(
        Field(
            "language",
            "Language",
            "choice",
            tuple((name, code) for code, name in languages.NAMES.items()),
            "en",
        ),
    ),
    checked=lambda parameters: {
        "language": choice_in(parameters, "language", "Language", tuple(languages.NAMES))
    },
    single=True,
)
SAME_LANGUAGE = kind(
    name="same_language",
    label="Is in the language of the question",
    help="Answers and questions too short to tell their language pass.",
    check=_as_asked,
    words=lambda parameters: "in the language of the question",
    imperative=lambda parameters: "Answer in the language of the question.",
    checked=nothing,
)


def mined(examples: Examples) -> Iterator[Rule]:
    """The answers' language, unless English answers English, which no model has to be told."""
    pairs = [(language_of(prompt), said) for prompt, answer in examples.rows if (said := language_of(answer))]
    if not pairs:
        return
    usual, count = Counter(said for _, said in pairs).most_common(1)[0]
    others = sum(asked not in ("", "en") for asked, _ in pairs)
    if count >= max(FEWEST_TOLD, SHARE * len(pairs)):
        if usual in languages.NAMES and (usual != "en" or _are_some(others, len(pairs))):
            yield LANGUAGE.mined(language=usual)
    elif _follows([pair for pair in pairs if pair[0]], len(examples.rows)):
        yield SAME_LANGUAGE.mined()


def _follows(pairs: Sequence[tuple[str, str]], rows: int) -> bool:
    """Whether questions in several languages, (asked, said), are each answered in their own."""
    often = [n for n in Counter(asked for asked, _ in pairs).values() if _are_some(n, len(pairs))]
    told = 2 * len(pairs) >= rows
    return told and len(often) >= 2 and surely(sum(asked == said for asked, said in pairs), len(pairs))


def _are_some(count: int, total: int) -> bool:
    return count >= max(FEWEST_OTHERS, LEAST_SHARE * total)
