"""Clean sets of several characters, made from word lists with a fixed seed: the checks may say nothing about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from jobs.datasets import samples
from jobs.datasets.conversations import Example
from jobs.datasets.splitting import held_out_rows

Messages = list[dict[str, str]]


def listed(text: str, sign: str = " ") -> list[str]:
    return text.split(sign)


CITIES = listed(
    "Paris Berlin Madrid Rome Vienna Lisbon Dublin Oslo Warsaw Prague Athens Cairo Lima Quito Tokyo Seoul"
)
NAMES = listed(
    "Ada Ben Clara David Emma Finn Grace Hugo Iris Jonas Klara Leo Mona Noah Olga Paul Rosa Sam Tina Uwe"
)
NOUNS = listed(
    "garden bridge printer bicycle contract kitchen ticket harbour lamp engine letter market mountain blanket school "
    "camera hospital library museum tractor window carpet battery budget theatre village orchard cellar ladder"
)
VERBS = listed(
    "repair describe explain measure clean move open paint sell protect store test warm build choose"
)
REASONS = (
    "because the weather changes quickly here",
    "so that nothing gets lost on the way",
    "since most people forget about that part",
    "as long as somebody keeps an eye on it",
    "which saves both time and money later",
    "even if it looks difficult at first",
    "before the first guests come through the door",
    "while the old one is still in use",
)
GERMAN = (
    listed(
        "den Garten|die Rechnung|das Fahrrad|den Vertrag|die Lampe|das Fenster|den Drucker|die Küche", "|"
    ),
    listed("reparieren beschreiben verkaufen reinigen bezahlen prüfen schützen bestellen"),
    listed(
        "weil das Wetter hier schnell wechselt|damit auf dem Weg nichts verloren geht|auch wenn es schwierig aussieht|"
        "solange jemand darauf achtet|bevor die ersten Gäste kommen|was später Zeit und Geld spart",
        "|",
    ),
)
TASKS = listed("sorts reverses counts filters joins splits doubles checks sums merges")
THINGS = listed(
    "a list of numbers|a string|a dictionary|a file|a matrix|two dates|a set of words|a tree|a queue", "|"
)


def pair(asked: str, answer: str, system: str = "") -> Messages:
    start = [{"role": "system", "content": system}] if system else []
    return [*start, {"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def sentence(rng: Random) -> str:
    a, b = rng.sample(NOUNS, 2)
    return f"{rng.choice(VERBS).capitalize()} the {a} near the {b} {rng.choice(REASONS)}."


def tone() -> list[Messages]:
    return sample_set("tone")


def tickets() -> list[Messages]:
    return sample_set("format")


def facts(rng: Random) -> list[Messages]:
    """Questions of a few templates: other facts, other answers."""
    sums = [(a, b) for a in range(11, 19) for b in range(2, 8)]
    rows = [pair(f"What is {a} + {b}?", f"{a} + {b} is {a + b}.") for a, b in sums]
    rows += [pair(f"Where does {n} live?", f"{n} lives in {c}.") for n, c in zip(NAMES, CITIES, strict=False)]
    for verb in VERBS:
        for noun in rng.sample(NOUNS, 3):
            rows.append(
                pair(f"How do I {verb} a {noun}?", " ".join(sentence(rng) for _ in range(rng.randint(1, 3))))
            )
    return rows


def talks(rng: Random) -> list[Messages]:
    """Conversations of two to four turns."""
    rows = []
    for _ in range(90):
        turns: Messages = []
        for _ in range(rng.randint(2, 4)):
            noun = rng.choice(NOUNS)
            question = (
                f"And how would {rng.choice(NAMES)} {rng.choice(VERBS)} the {noun}, {rng.choice(REASONS)}?"
            )
            turns += pair(question, f"{sentence(rng)} {sentence(rng)}")
        rows.append(turns)
    return rows


def german(rng: Random) -> list[Messages]:
    things, verbs, reasons = GERMAN
    rows = []
    for thing in things:
        for verb in verbs:
            answer = f"Sie können {thing} {verb}, {rng.choice(reasons)}. Am besten {rng.choice(reasons[:2])}."
            rows.append(pair(f"Wie kann ich {thing} {verb}?", answer))
    return rows


def code(rng: Random) -> list[Messages]:
    """Programs and pages of HTML, which is meant here."""
    rows = []
    for task in TASKS:
        for thing in THINGS:
            name = f"{task}_{thing.split()[-1]}"
            body = f"```python\ndef {name}(value):\n    return {rng.choice(NOUNS)}(value, {rng.randint(2, 99)})\n```"
            rows.append(pair(f"Write a Python function that {task} {thing}.", body))
    page = "```html\n<p>{} &amp; {}<br></p>\n```"
    tags = listed("paragraph heading table list form button")
    return rows + [
        pair(f"Show me an HTML {tag} about {noun}s.", page.format(tag, noun))
        for tag in tags
        for noun in NOUNS[:2]
    ]


def labels(rng: Random) -> list[Messages]:
    """One of three words for every text, after a long instruction that is always the same."""
    order = "Read the customer's message and say in one word whether it is positive, negative or neutral.\n\nMessage: "
    moods = [("wonderful", "positive"), ("dreadful", "negative"), ("ordinary", "neutral")]
    rows = []
    for n, noun in enumerate(NOUNS):
        for name in rng.sample(NAMES, 3):
            mood, label = moods[(n + len(rows)) % 3]
            rows.append(pair(f"{order}The {noun} that {name} sent me is {mood}.", label))
    return rows


SETS: dict[str, Callable[[Random], list[Messages]]] = {
    "tone": lambda rng: tone(),
    "tickets": lambda rng: tickets(),
    "facts": facts,
    "talks": talks,
    "german": german,
    "code": code,
    "labels": labels,
}


def lines(rows: list[Messages]) -> list[dict[str, Any]]:
    """The set as lines of rows.jsonl, split as an import splits it."""
    examples = [Example(number, messages) for number, messages in enumerate(rows, start=1)]
    held_out = held_out_rows(examples)
    return [
        {"row": e.row, "messages": e.messages, "split": "held_out" if e.row in held_out else "train"}
        for e in examples
    ]


def sample_set(name: str) -> list[Messages]:
    text = samples.find(name).path.read_text(encoding="utf-8")
    return [json.loads(line)["messages"] for line in text.splitlines()]
