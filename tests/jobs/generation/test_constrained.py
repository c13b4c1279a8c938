"""Answers held to a schema: every token leads somewhere, and they come to an end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from jobs.generation.constrained import Grammar, Held, hold_all
from storage.errors import StudioError

VOCABULARY = 350
STOPS = frozenset({0, 2})
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_model / "tokenizer.json"))


@pytest.fixture
def held(tiny_model: Path) -> Held:
    # More scores than the tokenizer has tokens, as models have them.
    return Grammar(tiny_model, VOCABULARY, STOPS).held(SCHEMA)


def taken(held: Held, tokenizer: Tokenizer, text: str) -> None:
    for token_id in tokenizer.encode(text, add_special_tokens=False).ids:
        held.take(token_id)


def allowed(held: Held) -> set[int]:
    logits = torch.zeros(VOCABULARY)
    held.hold(logits)
    return set(logits.isfinite().nonzero().flatten().tolist())


def test_a_whole_answer_can_only_end_and_no_other_one_can(held: Held, tokenizer: Tokenizer) -> None:
    assert not allowed(held) & STOPS
    taken(held, tokenizer, '{"a": true')
    assert not allowed(held) & STOPS
    taken(held, tokenizer, "}")
    assert allowed(held) == STOPS


def test_blanks_come_to_an_end(held: Held, tokenizer: Tokenizer) -> None:
    (blank,) = tokenizer.encode(" ", add_special_tokens=False).ids
    taken(held, tokenizer, "{")
    count = 0
    while blank in allowed(held) and count < 40:
        held.take(blank)
        count += 1
    assert 8 <= count <= 32, "enough to indent, and not for ever"
    taken(held, tokenizer, '"a":\n    false\n}')
    assert allowed(held) == STOPS


def test_rows_that_are_held_to_nothing_stay_as_they_are(held: Held) -> None:
    logits = torch.randn(3, VOCABULARY)
    before = logits.clone()
    hold_all([None, held, None], logits)
    assert torch.equal(logits[[0, 2]], before[[0, 2]])
    still = logits[1].isfinite()
    assert set(still.nonzero().flatten().tolist()) == allowed(held)
    assert torch.equal(logits[1][still], before[1][still])


@pytest.mark.parametrize("schema", [{"type": "string", "pattern": "(?=a)b"}, {"const": "\ud83d"}])
def test_what_no_answer_can_be_held_to_is_refused(tiny_model: Path, schema: dict[str, str]) -> None:
    with pytest.raises(StudioError, match="cannot be held to this JSON schema"):
        Grammar(tiny_model, VOCABULARY, STOPS).held(schema)
