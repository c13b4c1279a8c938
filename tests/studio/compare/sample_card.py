"""A scorecard as real ones are: forty tickets in JSON, six ways of asking, counted by the rules of its own examples."""

from __future__ import annotations

import json
import time
from typing import Any

from jobs.evaluation import card as cards
from jobs.evaluation import plan as judging
from jobs.evaluation import rules
from jobs.evaluation.held_out import HeldOutRow
from jobs.serving.schema import SideAnswer
from storage import adapters, datasets, evaluations, files, plans

# side → label, hash of the weights, tokens of a prompt and of an answer
SIDES = {
    "base": ("Base model", "3f9a12cd", 38, 91),
    "instruction": ("Base model + instruction", "3f9a12cd", 121, 60),
    "few_shot": ("Base model + 3 examples", "3f9a12cd", 351, 44),
    "similar": ("Base model + 3 similar examples", "3f9a12cd", 348, 43),
    "constrained": ("Base model held to JSON", "3f9a12cd", 38, 52),
    "adapted": ("Tickets · rank 8", "3f9a12cd+c21e00aa", 38, 41),
}
TOPICS = ("account", "returns", "delivery", "product")
ROWS, FIRST_HELD_OUT = 40, 160


def examples() -> list[dict[str, str]]:
    """All examples, as somebody brings them."""
    return [
        {"prompt": prompt(row), "response": json.dumps(wanted(row))} for row in range(FIRST_HELD_OUT + ROWS)
    ]


def add(adapter_id: str = "c21e", dataset_id: str = "tickets", with_card: bool = True) -> dict[str, Any]:
    """Remember the examples, an adapter made of them, and its scorecard; returns the card."""
    lines = []
    for row, example in enumerate(examples()):
        turns = (("user", example["prompt"]), ("assistant", example["response"]))
        messages = [{"role": role, "content": content} for role, content in turns]
        lines.append(
            {"row": row, "messages": messages, "split": "train" if row < FIRST_HELD_OUT else "held_out"}
        )
    files.write_text(
        files.dataset_folder(dataset_id) / "rows.jsonl", "\n".join(map(json.dumps, lines)) + "\n"
    )
    datasets.add(
        id=dataset_id, name="Tickets", source_name="tickets.jsonl", format="messages", columns=["messages"],
        rows=FIRST_HELD_OUT + ROWS, train_rows=FIRST_HELD_OUT, held_out_rows=ROWS, problems=[], sha256="0" * 64,
    )  # fmt: skip
    adapter = adapters.add(
        id=adapter_id, name="Tickets · rank 8", job_id=f"job-{adapter_id}", dataset_id=dataset_id,
        base_model_id="starter", rank=8, alpha=16.0, target_modules=["q_proj"], parameters=9000, size_bytes=9_800_000,
        weights_sha256="c21e00aa", base_weights_sha256="3f9a12cd", held_out_loss=0.4, best_step=110, settings={},
    )  # fmt: skip
    made = card(adapter_id, dataset_id)
    made["asked_about"] = cards.asked_about(
        adapter, plans.get(dataset_id), judging.instruction_of(dataset_id)
    )
    if with_card:
        evaluations.add(adapter_id, made)
    return made


def prompt(row: int) -> str:
    return f"Mail {row}: where is my <i>parcel</i>? It was promised for day {7 * row % 31}."


def wanted(row: int) -> dict[str, Any]:
    order = None if row % 3 else f"G{1000 + 7 * row}"
    return {"topic": TOPICS[row % 4], "urgency": "high" if row % 5 == 0 else "normal", "order": order}


def answer(side: str, row: int) -> str:
    """What a side answers: prompted sides reach valid JSON, only the adapter the right fields."""
    right = wanted(row)
    if side == "base":
        return f'Here is the ticket as JSON:\n```json\n{{"title": "{right["topic"]} <b>problem</b>"}}\n```'
    if side == "instruction" and row % 4 == 0:
        return f"The topic is {right['topic']}."
    if side in ("instruction", "constrained"):
        return json.dumps({"topic": right["topic"], "urgency": "low", "mail": "from a customer"})
    if side in ("few_shot", "similar"):
        return "{" if row % 40 == 39 else json.dumps({"topic": right["topic"], "order": right["order"]})
    if row % 13 == 5:
        return json.dumps({"topic": right["topic"], "order": right["order"]})
    return json.dumps(right | ({"urgency": "low"} if row % 6 == 1 else {}))


def card(
    adapter_id: str = "c21e", dataset_id: str = "tickets", rows: int = ROWS, **parts: Any
) -> dict[str, Any]:
    """The whole card; `parts` take the place of its own."""
    numbers = range(FIRST_HELD_OUT, FIRST_HELD_OUT + rows)
    asked = [_row(number) for number in numbers]
    answered = {side: [_answered(side, row) for row in numbers] for side in SIDES}
    training = [(_row(row), answer("base", row)) for row in range(20)]
    likely = {
        side: [{"nats": nats * 20.0 + row % 7, "tokens": 20} for row in numbers]
        for side, nats in (("base", 2.1), ("adapted", 0.4))
    }
    found = rules.mine([(prompt(row), json.dumps(wanted(row))) for row in range(FIRST_HELD_OUT)])
    whole = {
        **cards.measured(asked, answered, training, likely),
        "adapter_id": adapter_id,
        "dataset_id": dataset_id,
        "base_model_id": "starter",
        "created_at": time.time() - 260,
        "seconds": 96.0,
        "instruction": rules.instruction(found),
        "schema": {"type": "object", "required": ["topic", "urgency", "order"]},
        "side_effects": effects(),
        "curve": {"code": "memorising", "sentence": "Memorising since step 120. The state of step 110 is kept."},
        "film": film(),
        "asked_about": {"plan": {"rules": {}, "instruction": None}, "instruction": rules.instruction(found)},
    }  # fmt: skip
    return {**cards.counted(whole, [(rule, True) for rule in found]), **parts}


def _row(row: int) -> HeldOutRow:
    return HeldOutRow(row, [{"role": "user", "content": prompt(row)}], json.dumps(wanted(row)))


def _answered(side: str, row: int) -> SideAnswer:
    label, weights, read, wrote = SIDES[side]
    return SideAnswer(
        side=side, label=label, text=answer(side, row), tokens=wrote, prompt_tokens=read, weights=weights,
        seconds=1.0, done=True, finish_reason="stop",
    )  # fmt: skip


def effects(**parts: Any) -> dict[str, Any]:
    """Side effects of an adapter that hardly changes anything else."""
    own = {"prompt": "Say hello.", "base": "Hello!", "adapted": "{}", "why": "answers with JSON"}
    changed = {
        "prompt": "What is <b>7 × 8</b>?",
        "base": "7 × 8 is 56.",
        "adapted": '{"topic": null}',
        "why": "has the trained style",
    }
    return {
        "prompts": 60, "unchanged": 58, "drift": {"kl_per_token": 0.031, "overlap": 0.94},
        "refusals": {"base": 3, "adapted": 2}, "loops": {"base": 0, "adapted": 1},
        "style": {"base": 0.0, "adapted": 0.05, "words": "valid JSON"},
        "copied": {"answers": 0, "examples": []},
        "own": {"prompts": 2, "unchanged": 1, "examples": [own]},
        "needle": 0.06, "code": "hardly", "words": "hardly changed",
        "sentence": "58 of 60 unrelated questions are answered as before.", "examples": [changed],
        **parts,
    }  # fmt: skip


def film() -> dict[str, Any]:
    """Three prompts, answered before training and at three looks; the third answers as the one before."""
    frames = [(0, "base"), (40, "few_shot"), (80, "adapted"), (120, "adapted")]
    rows = range(FIRST_HELD_OUT, FIRST_HELD_OUT + 3)
    return {
        "prompts": [
            {
                "row": row,
                "prompt": prompt(row),
                "wanted": json.dumps(wanted(row)),
                "frames": [{"step": step, "text": answer(side, row)} for step, side in frames],
            }
            for row in rows
        ]
    }


def study(**parts: Any) -> dict[str, Any]:
    """A finished study that found more examples worth while."""
    losses = ((40, 0.91, 0.82, 1.01), (80, 0.62, 0.55, 0.70), (160, 0.44, 0.38, 0.50))
    return {
        "status": "finished",
        "points": [
            {"rows": rows, "loss": loss, "low": low, "high": high} for rows, loss, low, high in losses
        ],
        "fit": {
            "words": "The loss falls by about a quarter whenever the rows double.",
            "at_double": {"rows": 320, "loss": 0.33, "low": 0.22, "high": 0.44},
        },
        "sentence": "Yes, probably: twice as many examples would bring the held-out loss from 0.44 to about 0.33.",
        "code": "helps",
        **parts,
    }
