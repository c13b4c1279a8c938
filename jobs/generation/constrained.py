"""Answers held to a JSON schema: at every token only those are left that can still become what it allows.

Importing it takes no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

# Between the parts of an answer: enough to indent, and not so much that a model goes on with blanks for ever.
BLANKS = r"[ \n]{0,16}"


class Grammar:
    """What one tokenizer's tokens can write; made once for a model, because it reads all of its vocabulary."""

    def __init__(self, folder: Path, vocabulary: int, stop_ids: frozenset[int]) -> None:
        """`vocabulary` is the number of scores, which may be more than the tokenizer has tokens."""
        import llguidance

        self._tokenizer = llguidance.LLTokenizer(
            str(folder / "tokenizer.json"), n_vocab=vocabulary, eos_token=sorted(stop_ids)
        )
        self._words = -(-vocabulary // 32)

    def held(self, schema: Mapping[str, Any]) -> Held:
        """An answer that has not begun.

        Raises:
            StudioError: the schema asks for something that cannot be held to.
        """
        import llguidance

        matcher = llguidance.LLMatcher(self._tokenizer, _grammar_of(schema), log_level=0)
        if matcher.is_error():
            raise _refused(matcher.get_error())
        return Held(matcher, self._words)


def check(schema: Mapping[str, Any]) -> None:
    """Refuse a schema that no answer can be held to, before anybody is asked.

    Raises:
        StudioError: it asks for half a character, is nested too deeply, or is too large.
    """
    import llguidance

    if problem := llguidance.LLMatcher.validate_grammar(_grammar_of(schema)):
        raise _refused(problem)


def _grammar_of(schema: Mapping[str, Any]) -> str:
    import llguidance

    try:
        grammar: str = llguidance.LLMatcher.grammar_from_json_schema(
            json.dumps(schema), overrides={"whitespace_pattern": BLANKS}
        )
    except ValueError as error:
        raise _refused(error) from error
    return grammar


def _refused(why: object) -> StudioError:
    return StudioError(
        f"An answer cannot be held to this JSON schema: {str(why).rstrip('.')}.",
        "Change the schema, or leave the constrained side out.",
    )


class Held:
    """One answer that is held to a schema while it grows."""

    def __init__(self, matcher: Any, words: int) -> None:
        import torch

        self._matcher = matcher
        self._mask = torch.zeros(1, words, dtype=torch.int32)

    def hold(self, logits: Tensor) -> None:
        """Leave only the tokens in `logits` (vocabulary,) that may come next."""
        import llguidance.torch as masks
        import torch

        masks.fill_next_token_bitmask(self._matcher, self._mask)
        allowed = (self._mask[0, :, None] >> torch.arange(32)).bitwise_and_(1).bool().flatten()
        logits.masked_fill_(~allowed[: len(logits)].to(logits.device), float("-inf"))

    def take(self, token_id: int) -> None:
        """The token that was chosen."""
        self._matcher.consume_token(token_id)


def hold_all(held: Sequence[Held | None], logits: Tensor) -> None:
    """Hold each row of `logits` (rows, vocabulary) to what its answer may become."""
    for own, row in zip(held, logits, strict=True):
        if own is not None:
            own.hold(row)
