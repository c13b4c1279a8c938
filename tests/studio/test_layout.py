from __future__ import annotations

import re
from types import SimpleNamespace

import gradio as gr
import pytest

from studio import layout


def test_an_address_names_only_what_is_chosen() -> None:
    assert layout.address("/train") == "/train"
    assert layout.address("/train", run=None, dataset="") == "/train"
    assert layout.address("/train", dataset="d1", run="a&b") == "/train?dataset=d1&run=a%26b"


@pytest.mark.parametrize("path", list(layout.PLACES))
def test_the_bar_marks_the_place_where_one_is(path: str) -> None:
    with gr.Blocks():
        html = str(layout.bar(path).value)
    links = re.findall(r'<a href="([^"]+)" data-keep ([^>]*)>', html)
    assert [link for link, _ in links] == list(layout.PLACES)
    assert [link for link, current in links if "aria-current" in current] == [path]


@pytest.mark.parametrize("path", list(layout.PLACES))
def test_every_place_asks_its_question_as_the_title(path: str) -> None:
    assert f"<h1>{layout.PLACES[path].question}</h1>" in layout.answered(path, "Yes.")


def test_words_of_people_are_escaped() -> None:
    assert "<script>" not in layout.strong("<script>")
    page = layout.empty("<script>", '/"onclick="x', "<b>")
    assert "<script>" not in page
    assert "<b>" not in page
    assert '"onclick="' not in page


def test_a_value_of_the_pages_address_is_read() -> None:
    request = SimpleNamespace(query_params={"run": "abc", "dataset": ""})
    assert layout.query(request, "run") == "abc"  # type: ignore[arg-type]
    assert layout.query(request, "dataset") is None  # type: ignore[arg-type]
    assert layout.query(request, "model") is None  # type: ignore[arg-type]
    assert layout.query(None, "run") is None  # type: ignore[arg-type]
