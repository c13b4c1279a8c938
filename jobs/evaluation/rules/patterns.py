"""Rules that a user writes as a regular expression, with a time limit: a careless one could run for years."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from jobs.evaluation.rules.parameters import text_in
from jobs.evaluation.rules.rule import Field, Parameters, kind
from storage.errors import StudioError

SECONDS = 0.2
LONGEST_READ = 100_000  # characters of an answer
LARGEST_REPEAT = 1000
# On such texts a careless expression shows itself.
_TRIED = ("a " * 2000, "a" * 4000 + "!", "1" * 4000 + "!", "abc def, 12. " * 500)


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    import regex

    return regex.compile(pattern, regex.MULTILINE)


def found(pattern: str, text: str) -> bool:
    """Whether the pattern is somewhere in the text; one that takes too long is not."""
    try:
        return _compiled(pattern).search(text[:LONGEST_READ], timeout=SECONDS, concurrent=True) is not None
    except TimeoutError:
        return False


def _checked(parameters: Parameters) -> dict[str, Any]:
    import regex

    pattern = text_in(parameters, "pattern", "Regular expression")
    repeats = [int(number) for number in regex.findall(r"[{,]\s*(\d{1,9})\s*[,}]", pattern)]
    if max(repeats, default=0) > LARGEST_REPEAT or sum(number > 50 for number in repeats) > 1:
        raise StudioError(
            "The regular expression repeats too much.", "Repeat with * or + instead of large numbers."
        )
    try:
        compiled = _compiled(pattern)
        for text in _TRIED:
            compiled.search(text, timeout=SECONDS, concurrent=True)
    except regex.error as error:
        raise StudioError(f"“{pattern}” is no regular expression: {error}.", "Correct it.") from None
    except TimeoutError:
        raise StudioError(
            f"“{pattern}” takes too long on some texts.", "Write it without a repeat inside of a repeat."
        ) from None
    return {"pattern": pattern}


MATCHES = kind(
    name="matches",
    label="Matches a regular expression",
    help=r"Somewhere in the answer; ^ and $ are the ends of a line, \A and \Z those of the answer.",
    check=lambda parameters, text: found(parameters["pattern"], text.answer),
    words=lambda parameters: f"matches {parameters['pattern']}",
    imperative=lambda parameters: f"Let the answer match the regular expression {parameters['pattern']}",
    parameters=(Field("pattern", "Regular expression"),),
    checked=_checked,
)
NEVER_MATCHES = kind(
    name="never_matches",
    label="Does not match a regular expression",
    help="Nowhere in the answer.",
    check=lambda parameters, text: not found(parameters["pattern"], text.answer),
    words=lambda parameters: f"does not match {parameters['pattern']}",
    imperative=lambda parameters: (
        f"Nothing in the answer may match the regular expression {parameters['pattern']}"
    ),
    parameters=(Field("pattern", "Regular expression"),),
    checked=_checked,
)
