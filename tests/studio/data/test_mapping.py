from __future__ import annotations

from jobs.datasets.importing import Look
from jobs.datasets.records import ReadOptions
from studio.data import mapping


def look(**more: object) -> Look:
    values: dict[str, object] = {
        "format": "csv", "detected": {"Format": "CSV", "Delimiter": "semicolon"}, "choices": {},
        "columns": ["q", "a"], "mapping": {"prompt": "q", "response": "a"}, "certain": False, "problems": [],
        "rows": [{"row": 1, "messages": [{"role": "user", "content": "<i>"}, {"role": "assistant", "content": "b"}]}],
    }  # fmt: skip
    return Look(**{**values, **more})  # type: ignore[arg-type]


def values(**chosen: str) -> tuple[str, ...]:
    return tuple(chosen.get(name, "") for name in [*mapping.PARTS, *mapping.READING])


def test_what_was_left_as_detected_is_not_said() -> None:
    assert mapping.options_of(values()) == {}
    chosen = mapping.options_of(values(prompt="q", response="a", delimiter=";", has_header="no"))
    assert chosen == {"mapping": {"prompt": "q", "response": "a"}, "delimiter": ";", "has_header": False}
    assert ReadOptions.from_json(chosen).has_header is False


def test_a_whole_conversation_takes_the_place_of_prompt_and_answer() -> None:
    chosen = mapping.options_of(values(prompt="q", response="a", messages="m", system="s"))
    assert chosen == {"mapping": {"messages": "m", "system": "s"}}


def test_the_preview_is_what_the_model_will_learn_and_else_the_cells() -> None:
    shown = mapping.preview_html(look())
    assert '<div class="said">&lt;i&gt;</div>' in shown
    cells = mapping.preview_html(look(mapping={}, rows=[{"row": 1, "q": "<i>", "a": "b"}]))
    assert "&lt;i&gt;" in cells and "What the model will learn" not in cells
