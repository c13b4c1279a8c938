"""Side effects in words: what the needle says, and what was most to be seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DECLINES = "declines to answer"
DECLINES_NO_MORE = "answers what the base model declines"
CIRCLES = "runs in circles"
STYLE = "has the habit of your examples: “{words}”"
COPIED = "repeats one of your examples word for word"
OTHERWISE = "says something else"

# From which needle on it is called so.
CODES = (
    (0.0, "hardly", "hardly changed"),
    (0.1, "some", "changed somewhat"),
    (0.35, "strong", "changed strongly"),
)
STYLE_WORTH_SAYING = 0.1


def in_words(found: Mapping[str, Any]) -> dict[str, str]:
    """`code`, `words` and `sentence` of counted side effects."""
    needle = found["needle"]
    _, code, words = [entry for entry in CODES if needle >= entry[0]][-1]
    if code == "hardly" and found["own"]["unchanged"] < found["own"]["prompts"]:
        _, code, words = CODES[1]  # the user has said what matters most
    unchanged, prompts = found["unchanged"], found["prompts"]
    said = f"it answers {unchanged} of {prompts} unrelated questions as before"
    sentence = f"Beside its task the model is {words}: {said}."
    return {"code": code, "words": words, "sentence": " ".join([sentence, *_most_seen(found)])}


def _most_seen(found: Mapping[str, Any]) -> list[str]:
    """A sentence for each symptom that there is."""
    sentences = []
    style, loops, refusals = found["style"], found["loops"], found["refusals"]
    if style is not None and style["adapted"] - style["base"] >= STYLE_WORTH_SAYING:
        sentences.append(
            f"It has the habit “{style['words']}” where nobody asked for it: in {style['adapted']:.0%} of the answers,"
            f" the base model in {style['base']:.0%}."
        )
    if loops["adapted"] > loops["base"]:
        sentences.append(f"{_answers(loops['adapted'])} in circles, of the base model {loops['base']}.")
    if refusals["adapted"] != refusals["base"]:
        sentences.append(
            f"It declines to answer {refusals['adapted']} of them, the base model {refusals['base']}."
        )
    if found["copied"]["answers"]:
        count = found["copied"]["answers"]
        sentences.append(
            f"{count} {'answer repeats' if count == 1 else 'answers repeat'} one of your examples word for word."
        )
    own = found["own"]
    if own["prompts"]:
        sentences.append(
            f"Of your own prompts {own['unchanged']} of {own['prompts']} are answered as before."
        )
    return sentences


def _answers(count: int) -> str:
    return f"{count} {'answer runs' if count == 1 else 'answers run'}"
