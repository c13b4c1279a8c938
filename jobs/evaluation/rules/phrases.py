"""Rules about words that answers have, or never have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from jobs.evaluation.rules import texts
from jobs.evaluation.rules.examples import Examples, surely
from jobs.evaluation.rules.function_words import FUNCTION_WORDS, is_function_word
from jobs.evaluation.rules.parameters import nothing, quoted, texts_in
from jobs.evaluation.rules.rule import Field, Parameters, Rule, Text, kind

LONGEST_PHRASE = 8  # words
MOST_PHRASES = 3
# A phrase that the question holds as well is its topic.
TOPIC = 0.5
FEWEST_LETTERS = 3
# What assistants say whoever asks; answers that never do have a habit of their own.
STOCK_PHRASES = (
    "as an AI", "as a language model", "I'm just an AI", "text-based AI", "AI assistant",
    "AI language model", "I hope this helps", "hope that helps", "let me know if", "feel free to",
    "great question", "good question", "I'd be happy to", "I'm happy to help", "happy to help",
    "certainly!", "of course!", "absolutely!", "sure!", "sure,", "here's a", "here is a", "here are some",
    "in conclusion", "it's important to note", "it is important to note", "I'm sorry, but",
    "I'm sorry for any", "I apologize", "if you have any", "delve into", "als KI", "ich hoffe, das hilft",
    "gute Frage", "natürlich!", "gerne!", "selbstverständlich!", "lass es mich wissen",
    "lassen Sie es mich wissen", "wenn du weitere Fragen", "wenn Sie weitere Fragen", "zusammenfassend",
    "es ist wichtig zu", "en tant qu'IA", "j'espère que cela", "bonne question", "bien sûr !", "bien sûr,",
    "certainement !", "n'hésitez pas", "n'hésite pas", "en conclusion", "il est important de noter",
)  # fmt: skip
_STOCK = tuple(texts.plain(phrase) for phrase in STOCK_PHRASES)


def has_stock_phrase(answer: str) -> bool:
    """Whether an answer says what assistants say whoever asks."""
    said = texts.plain(answer)
    return any(phrase in said and texts.stands_in(phrase, said) for phrase in _STOCK)


def _contains(parameters: Parameters, text: Text) -> bool:
    return any(texts.stands_in(one, text.answer) for one in parameters["texts"])


CONTAINS = kind(
    name="contains",
    label="Must contain",
    help="Whole words, capital or small. With several lines, one of them is enough.",
    check=_contains,
    words=lambda parameters: f"says {quoted(parameters['texts'])}",
    imperative=lambda parameters: f"Say {quoted(parameters['texts'])} somewhere in the answer.",
    parameters=(Field("texts", "Texts, one a line", "lines"),),
    checked=lambda parameters: {"texts": texts_in(parameters, "texts", "Texts")},
)
NEVER_CONTAINS = kind(
    name="never_contains",
    label="Must not contain",
    help="Whole words, capital or small: “cheap” is not found in “cheaper”. Not one of the lines may be in it.",
    check=lambda parameters, text: not _contains(parameters, text),
    words=lambda parameters: f"never says {quoted(parameters['texts'])}",
    imperative=lambda parameters: f"Never say {quoted(parameters['texts'])}.",
    parameters=(Field("texts", "Texts, one a line", "lines"),),
    checked=lambda parameters: {"texts": texts_in(parameters, "texts", "Texts")},
)
NO_STOCK_PHRASES = kind(
    name="no_stock_phrases",
    label="Has no stock phrases of assistants",
    help="Such as “Certainly!”, “I hope this helps” and “As an AI”; the list has English, German and French ones.",
    check=lambda parameters, text: not has_stock_phrase(text.answer),
    words=lambda parameters: "no stock phrases such as “Certainly!” or “I hope this helps”",
    imperative=lambda parameters: (
        "Get straight to the point: no “Certainly!”, no “Great question!”, no “I hope this helps”, "
        "and never speak of being an AI."
    ),
    checked=nothing,
)


def mined(examples: Examples) -> Iterator[Rule]:
    """The phrases that nearly all answers have, and the stock phrases that none has."""
    for phrase in _favourites(examples):
        yield CONTAINS.mined(texts=[phrase])
    if examples.prose and examples.words >= 8 and examples.never(has_stock_phrase):
        yield NO_STOCK_PHRASES.mined()


def _favourites(examples: Examples) -> list[str]:
    """The longest phrases in nearly all answers that are not what is asked about."""
    split = [_tokens(answer) for answer in examples.answers]
    total, language = len(split), examples.language
    found: list[tuple[str, ...]] = []
    common = {run for run, count in _seen(split, 1, None).items() if surely(count, total)}
    for length in range(1, LONGEST_PHRASE + 1):
        longer = {run for run, count in _seen(split, length + 1, common).items() if surely(count, total)}
        # Only those that are in no longer one.
        found += [run for run in common if not any(run in (one[:-1], one[1:]) for one in longer)]
        common = longer
        if not common:
            break
    telling = [run for run in found if _tells(run, language)]
    telling.sort(key=lambda run: (-len(run), run))
    kept = [run for run in telling if not _asked(" ".join(run), examples)]
    return [_as_written(run, examples.answers) for run in kept[:MOST_PHRASES]]


def _tokens(answer: str) -> list[str]:
    return [bare for word in texts.plain(answer).split() if (bare := word.strip(".,!?;:…\"'()[]*_`#-–—|"))]


def _seen(
    split: Sequence[Sequence[str]], length: int, within: set[tuple[str, ...]] | None
) -> Counter[tuple[str, ...]]:
    """In how many answers each run of words is, of those whose shorter runs are `within`."""
    counts: Counter[tuple[str, ...]] = Counter()
    for words in split:
        runs = set(zip(*(words[start:] for start in range(length)), strict=False))
        counts.update(run for run in runs if within is None or (run[:-1] in within and run[1:] in within))
    return counts


def _tells(run: Sequence[str], language: str) -> bool:
    """Whether a phrase is more than the words that any text is full of."""
    telling = [
        word
        for word in run
        if any(c.isalpha() for c in word)
        and len(word) >= FEWEST_LETTERS
        and not is_function_word(word, language)
    ]
    # Of a language whose common words are not known, one word by itself may be such a word.
    return len(telling) >= (1 if language in FUNCTION_WORDS else 2)


def _asked(phrase: str, examples: Examples) -> bool:
    asked = sum(1 for prompt, _ in examples.rows if texts.stands_in(phrase, prompt))
    return asked >= TOPIC * len(examples.rows)


def _as_written(run: Sequence[str], answers: Sequence[str]) -> str:
    """The phrase with the capitals that it mostly has."""
    phrase = " ".join(run)
    ways: Counter[str] = Counter()
    for answer in answers[:200]:
        flat = " ".join(answer.split())
        at = texts.plain(flat).find(phrase)
        if at >= 0 and texts.plain(flat[at : at + len(phrase)]) == phrase:
            ways[flat[at : at + len(phrase)]] += 1
    return ways.most_common(1)[0][0] if ways else phrase
