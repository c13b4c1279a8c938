"""Rules about how answers begin and end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from jobs.evaluation.rules import texts
from jobs.evaluation.rules.examples import Examples, surely
from jobs.evaluation.rules.function_words import is_function_word
from jobs.evaluation.rules.parameters import quoted, texts_in
from jobs.evaluation.rules.rule import Field, Kind, Parameters, Rule, Text, kind

LONGEST_EDGE = 120  # characters
# A few greetings in turn are a habit too, while each of them comes often enough to be no accident.
MOST_IN_TURN, LEAST_OFTEN, LEAST_SHARE = 4, 3, 0.08
FEWEST_FOR_SEVERAL = 20
VERDICTS = frozenset({"yes", "no", "ja", "nein", "oui", "non", "sí", "sim", "não", "nee"})
_TRIMMED = " \t\n,;"
_OF_THE_SENTENCE_BEFORE = " .,;:!?)…。！？，、"


def _edge(name: str, label: str, verb: str, holds: Callable[[str, str], bool]) -> Kind:
    """A kind of rule about one end of the answer; one of several texts is enough."""

    def check(parameters: Parameters, text: Text) -> bool:
        return any(holds(one, text.answer.strip()) for one in parameters["texts"])

    return kind(
        name=name,
        label=label,
        help="Whole words, capital or small. With several lines, one of them is enough.",
        check=check,
        words=lambda parameters: f"{verb}s with {quoted(parameters['texts'])}",
        imperative=lambda parameters: f"{verb.capitalize()} with {quoted(parameters['texts'])}.",
        parameters=(Field("texts", "Texts, one a line", "lines"),),
        checked=lambda parameters: {"texts": texts_in(parameters, "texts", "Texts")},
        single=True,
    )


BEGINS_WITH = _edge("begins_with", "Begins with", "begin", texts.opens)
ENDS_WITH = _edge("ends_with", "Ends with", "end", texts.closes)


def mined(examples: Examples) -> Iterator[Rule]:
    """What nearly all answers begin and end with."""
    answers = [" ".join(answer.split()) for answer in examples.answers]
    beginning = _shared_beginning(answers, examples.language)
    if beginning:
        yield BEGINS_WITH.mined(texts=[beginning])
    elif several := _in_turn([answer.split(" ", 1)[0] for answer in answers], examples.language):
        yield BEGINS_WITH.mined(texts=several)
    if beginning and examples.usual(lambda answer: len(" ".join(answer.split())) == len(beginning)):
        return  # it is the whole answer
    if ending := _shared_ending(answers, examples.language):
        yield ENDS_WITH.mined(texts=[ending])
    elif several := _in_turn([answer.rsplit(" ", 1)[-1] for answer in answers], examples.language):
        yield ENDS_WITH.mined(texts=several)


def _shared_beginning(answers: Sequence[str], language: str) -> str:
    shared = _shared(answers)
    kept = [answer for answer in answers if answer.startswith(shared)]
    # Never through a word: of "Guten Tag" and "Guten Taxi", "Guten".
    if shared and not surely(sum(texts.opens(shared, answer) for answer in kept), len(answers)):
        shared = shared[: _last_gap(shared)]
    words = shared.split(" ")
    while words and _says_nothing(words[-1], language):
        words.pop()
    shared = " ".join(words).rstrip(_TRIMMED + "，、")
    return shared if _says_something(shared, language) else ""


def _shared_ending(answers: Sequence[str], language: str) -> str:
    shared = _shared([answer[::-1] for answer in answers])[::-1]
    kept = [answer for answer in answers if answer.endswith(shared)]
    if shared and not surely(sum(texts.closes(shared, answer) for answer in kept), len(answers)):
        shared = shared[len(shared) - _last_gap(shared[::-1]) :]
    words = shared.split(" ")
    while words and _says_nothing(words[0], language):
        words.pop(0)
    shared = " ".join(words).lstrip(_OF_THE_SENTENCE_BEFORE)
    return shared if _says_something(shared, language) else ""


def _shared(answers: Sequence[str]) -> str:
    """The longest text that nearly all answers begin with, letter by letter."""
    left, shared = list(answers), ""
    while len(shared) < LONGEST_EDGE:
        counts = Counter(answer[len(shared)] for answer in left if len(answer) > len(shared))
        if not counts:
            break
        letter, count = counts.most_common(1)[0]
        if not surely(count, len(answers)):
            break
        shared += letter
        left = [answer for answer in left if answer.startswith(shared)]
    return shared


def _last_gap(text: str) -> int:
    """How much of a text to keep so that no word is cut: up to the last sign that is no letter or digit."""
    place = len(text)
    while place and text[place - 1].isalnum():
        place -= 1
    return place


def _says_nothing(word: str, language: str) -> bool:
    """Whether a word at the inner end may go: "the" of “Great news: the”. Signs and greetings stay."""
    bare = texts.plain(word)
    return not bare or (bare.isalpha() and is_function_word(bare, language))


def _says_something(text: str, language: str) -> bool:
    """Whether the text is more than words and signs that any answer may begin or end with."""
    words = texts.words_of(text)
    if any(not is_function_word(word, language) for word in words):
        return True
    # "No, " and "We are" are function words, but several, or set off by a sign, they are no accident.
    return len(words) >= 3 or bool(texts.EMOJI.search(text)) or bool(words and text[-1] in "!?:，、")


def _in_turn(words: Sequence[str], language: str) -> list[str]:
    """The few first (or last) words of which nearly all answers have one."""
    if len(words) < FEWEST_FOR_SEVERAL:
        return []
    counts = Counter(word.strip(_TRIMMED + ".") for word in words)
    often = [
        (word, count)
        for word, count in counts.most_common(MOST_IN_TURN)
        if count >= max(LEAST_OFTEN, LEAST_SHARE * len(words)) and _stands_alone(word, language)
    ]
    return [word for word, _ in often] if surely(sum(count for _, count in often), len(words)) else []


def _stands_alone(word: str, language: str) -> bool:
    """Whether a single word is a greeting, a verdict, a sign-off: “Ahoy!”, “Yes”, “😊”."""
    bare = texts.words_of(word)
    if not bare:
        return bool(texts.EMOJI.search(word))
    return not is_function_word(bare[0], language) or bare[0] in VERDICTS
