"""What people type about examples outside Gradio's own fields: how it gets from the page to Python, and the grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from storage.errors import StudioError
from studio import tables

GRID_LINES = 10

# For a gr.HTML with text areas and buttons: what a button sends (tables.button), with everything typed beside it.
# The functions are in assets/data.js.
TYPED = """element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.adds) return window.studioData.add(element, button.dataset.adds);
  if (button.dataset.clears) return window.studioData.clear(element);
  if (!button.dataset.sends) return;
  const sent = JSON.parse(button.dataset.sends);
  trigger(button.dataset.event || 'select', { ...sent, typed: window.studioData.typed(element) });
});"""


def grid_html() -> str:
    """Lines for a prompt and an answer each; a range copied from a spreadsheet can be pasted into any of them."""
    lines = "".join(_line(number) for number in range(1, GRID_LINES + 1))
    use = tables.applies("Use these rows", "", "small-button strong", do="use_rows")
    return (
        '<div class="grid"><p class="quiet">A range from a spreadsheet can be pasted into any field.</p>'
        '<table class="plain"><thead><tr><th scope="col"><span class="sr">Number</span></th>'
        f'<th scope="col">Prompt</th><th scope="col">Answer</th></tr></thead><tbody>{lines}</tbody></table>'
        f'<p class="does">{use}<button type="button" class="small-button" data-adds="lines">More rows</button>'
        '<button type="button" class="word-button" data-clears="yes">Clear all fields</button></p></div>'
    )


def _line(number: int) -> str:
    cells = "".join(
        f'<td><textarea rows="1" data-role="{role}" data-draft="grid/{number}/{place}" '
        f'aria-label="{label} {number}"></textarea></td>'
        for place, (role, label) in enumerate((("user", "Prompt"), ("assistant", "Answer")))
    )
    return f'<tr><th scope="row">{number}</th>{cells}</tr>'


def pairs(typed: Sequence[dict[str, str]]) -> list[tuple[str, str]]:
    """The lines of the grid in which anything was typed, as (prompt, answer).

    Raises StudioError when there is none.
    """
    contents = [str(one["content"]) for one in typed]
    filled = [pair for pair in zip(contents[::2], contents[1::2], strict=True) if "".join(pair).strip()]
    if not filled:
        raise StudioError("Nothing has been typed yet.", "Write at least two prompts with their answers.")
    return filled


def messages(typed: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """The turns of the editor as they are typed; an instruction that was left empty is none."""
    return [
        {"role": str(one["role"]), "content": str(one["content"])}
        for one in typed
        if one["role"] != "system" or one["content"].strip()
    ]
