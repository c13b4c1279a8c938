"""What the model will read, token by token: coloured, struck out, and always as text."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.base_models import catalogue
from jobs.generation.chat import ChatFormat
from storage import datasets
from studio import examples
from tests.jobs.datasets.test_tokens import REFUSING, dataset, turns

HOSTILE = '</div><script>alert("x")</script>&amp;<img src=x onerror=y>'


@pytest.fixture
def model_id(home: Path, tiny_model: Path, tmp_path: Path) -> str:
    shutil.copytree(tiny_model, tmp_path / "model")
    return catalogue.add_custom(str(tmp_path / "model")).id


def row(*contents: str, split: str = "train", **more: Any) -> dict[str, Any]:
    return {"row": 1, "messages": turns(*contents), "split": split, **more}


def spans(shown: str) -> list[tuple[set[str], str]]:
    """(classes, text) of every token."""
    found = re.findall(r'<span class="(token[^"]*)">(.*?)</span>', shown, re.DOTALL)
    return [(set(kinds.split()), html.unescape(text)) for kinds, text in found]


def whole(model_id: str, one: dict[str, Any]) -> Any:
    folder = catalogue.find(model_id).folder
    assert folder is not None
    return ChatFormat.load(folder).example(one["messages"])


def used(example: Any) -> int:
    """Up to the last learned token."""
    return max(place + 1 for place, learned in enumerate(example.learned) if learned)


@pytest.mark.parametrize("max_tokens", [None, 5, 16, 30, 33, 34])
def test_learned_tokens_are_coloured_and_cut_ones_struck_out(model_id: str, max_tokens: int | None) -> None:
    one = row("the quick brown fox", "answers", "the user", "in JSON")
    shown, example = examples.exact_html([one], model_id, max_tokens), whole(model_id, one)
    tokens = used(example)
    limit = max_tokens if max_tokens and max_tokens < tokens else len(example.token_ids)
    assert "".join(text for _, text in spans(shown)) == "".join(example.pieces)
    assert ["learn" in kinds for kinds, _ in spans(shown)] == example.learned
    assert ["cut" in kinds for kinds, _ in spans(shown)] == [
        place >= limit for place in range(len(example.token_ids))
    ]
    if limit < tokens:
        learned, lost = sum(example.learned[1:]), sum(example.learned[limit:])
        assert f"The last {tokens - limit} of {tokens} tokens are cut, {lost} of the {learned}" in shown
        assert ("Nothing is left to learn" in shown) == (lost == learned)
    else:
        assert "tokens are cut" not in shown


def test_the_model_itself_reads_no_more_than_it_can(model_id: str) -> None:
    one = row("the", "fox " * 600)
    shown = examples.exact_html([one], model_id, 100_000)
    tokens = used(whole(model_id, one))
    assert f"The last {tokens - 512:,} of {tokens:,} tokens are cut" in shown


def test_of_a_very_long_row_the_beginning_the_cut_and_the_end_are_shown(model_id: str) -> None:
    one = row("x" * 9000, "the end")
    example = whole(model_id, one)
    shown = examples.exact_html([one], model_id, 2000)  # the model reads 512
    assert spans(shown)[0][1] == example.pieces[0] and spans(shown)[-1][1] == example.pieces[-1]
    assert len(spans(shown)) < 1500
    assert f"{len(example.pieces) - len(spans(shown)):,} tokens not shown" in shown
    book = examples.exact_html([row("the fox " * 100_000, "the end")], model_id)
    assert "Only its first 200,000 characters" in book and len(book) < 200_000


def test_text_from_data_is_only_ever_text(model_id: str) -> None:
    left_out = row(split="left_out", code="x", reason=f"no {HOSTILE}", raw=HOSTILE)
    left_out["messages"] = [{"role": HOSTILE, "content": HOSTILE}, {"content": None}]
    for shown in (
        examples.exact_html([row(HOSTILE, HOSTILE)], model_id),
        examples.exact_html([left_out], model_id),
        examples.conversation_html(row(HOSTILE, HOSTILE, split="held_out")),
        examples.conversation_html(left_out),
    ):
        assert "<script" not in shown and "<img" not in shown
        text = html.unescape(re.sub(r"</?(div|span|p|pre)\b[^<>]*>", "", shown))
        assert text.count(HOSTILE) >= 2


def test_a_row_left_out_says_why_with_its_text_as_it_stood(model_id: str) -> None:
    shown = examples.conversation_html(row(split="left_out", reason="line 3 is no JSON", raw='{"a": '))
    assert "left out" in shown and "line 3 is no JSON" in shown and "{&quot;a&quot;: " in shown
    assert examples.exact_html([row(split="left_out", reason="r")], model_id).startswith(
        '<div class="example">'
    )


def test_a_book_in_one_message_is_shown_by_its_beginning(home: Path) -> None:
    shown = examples.conversation_html(row("q", "a" * 50_000))
    assert len(shown) < 25_000 and "30,000 characters more" in shown


def test_a_row_that_the_template_refuses_says_so_and_the_others_are_shown(model_id: str) -> None:
    folder = catalogue.find(model_id).folder
    assert folder is not None
    (folder / "chat_template.jinja").write_text(
        REFUSING + "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    refused = {**row(), "messages": turns("a", "b", system="S")}
    shown = examples.exact_html([refused, row("good", "one")], model_id)
    assert "No system text, please." in shown and "".join(text for _, text in spans(shown)).startswith(
        "goodone"
    )


def test_before_the_model_is_here_its_absence_is_said(home: Path) -> None:
    assert "not on this machine yet" in examples.exact_html([row("a", "b")])


def test_small_sets_are_counted_at_once_and_large_ones_not_in_the_page(model_id: str) -> None:
    small = [{**row("the", "fox " * n), "row": n} for n in range(1, 10)]
    counts, sentence = examples.token_counts(add("d1", small), model_id)
    assert counts == [used(whole(model_id, one)) for one in small]
    assert sentence == f"Typical {counts[4]}, longest {counts[8]}."
    large = [{**row("the", "fox " * 20), "row": n} for n in range(1, 3000)]
    assert examples.token_counts(add("d2", large), model_id) == ([], "They have not been counted yet.")


def add(id: str, rows: list[dict[str, Any]]) -> datasets.Dataset:
    dataset(id, rows)
    return datasets.add(
        id=id, name=id, source_name="d.jsonl", format="messages", columns=[], rows=len(rows),
        train_rows=len(rows), held_out_rows=0, problems=[], sha256="0" * 64,
    )  # fmt: skip
