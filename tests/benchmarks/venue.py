"""A format task from start to end: facts about a venue as JSON, trained and answered as a library.

Neither page, database nor the package `datasets` is needed. The same 40 unseen rows are answered by the base
model, the base model with three examples in the prompt, and the adapted model.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.base_models.weights import parameters
from jobs.generation.chat import ChatFormat
from jobs.generation.engine import Engine, Request
from jobs.progress import Progress
from jobs.training.checkpoints import save_adapter
from jobs.training.engine import engine_for
from jobs.training.examples import tokenized
from jobs.training.loop import TrainingResult, train
from jobs.training.model import FIRST_ADAPTER, adapted_model
from jobs.training.settings import TrainingSettings, fitted, trials

UNSEEN_ROWS = 40
SHOTS = 3
LONGEST_ANSWER_TOKENS = 128
SIDES = ("base", "few_shot", "adapted")

Messages = list[dict[str, str]]


class Lines:
    """Prints one JSON line for every measurement, all under the same conditions."""

    def __init__(self, device: str, conditions: dict[str, Any]) -> None:
        self._device, self._conditions = device, conditions

    def __call__(self, what: str, value: float | None, unit: str) -> None:
        line = {
            "what": what,
            "device": self._device,
            "value": value,
            "unit": unit,
            "conditions": self._conditions,
        }
        print(json.dumps(line), flush=True)


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.venue", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="chat JSONL: {“messages”: […]} a line")
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rows", type=int, help="use only so many rows (default: all)")
    arguments = parser.parse_args()
    seen, unseen = split(arguments.data, arguments.rows)
    conditions = {
        "model": arguments.model.name,
        "data": arguments.data.name,
        "rank": arguments.rank,
        "training_rows": len(seen),
        "unseen_rows": len(unseen),
        "epochs": 2,
        "learning_rate": 5e-4,
    }
    lines = Lines(arguments.device, conditions)
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder) / "adapter"
        trained(arguments.model, arguments.device, arguments.rank, seen, adapter, lines)
        answered(arguments.model, arguments.device, adapter, seen, unseen, lines)


def split(path: Path, limit: int | None) -> tuple[list[Messages], list[Messages]]:
    """The conversations to train on, and the 40 that nobody may see; the same for the same file."""
    rows = [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]
    random.Random(0).shuffle(rows)
    rows = rows[:limit]
    return rows[UNSEEN_ROWS:], rows[:UNSEEN_ROWS]


def trained(
    model: Path, device: str, rank: int, seen: Sequence[Messages], adapter: Path, lines: Lines
) -> None:
    """Train on all but a tenth of the seen rows, which chooses the best state, and print how it went."""
    began = time.perf_counter()
    rows = [{"row": number, "messages": messages} for number, messages in enumerate(seen, start=1)]
    chat = ChatFormat.load(model)
    held_out, _ = tokenized(rows[: len(rows) // 10], chat)
    examples, _ = tokenized(rows[len(rows) // 10 :], chat)
    settings = fitted(
        TrainingSettings(epochs=2, learning_rate=5e-4),
        [len(example.token_ids) for example in examples],
        rank=rank,
        model_parameters=parameters(model),
    )
    tried, progress = trials(settings, rank), Progress()
    peft_model = adapted_model(model, device, [rank], settings)
    config = peft_model.peft_config[FIRST_ADAPTER]
    engine = engine_for(peft_model, settings, tried, examples, progress)
    result: TrainingResult = train(
        engine,
        examples,
        held_out,
        settings,
        progress,
        lambda _, values: save_adapter(adapter, config, values),
        trials=tried,
    )
    lines("training, all of it", time.perf_counter() - began, "s")
    lines("training, steps alone", result.seconds, "s")
    lines("training speed", result.tokens_per_second, "tokens/s")
    lines("steps", result.steps, "steps")
    lines("tokens per step", settings.tokens_per_step, "tokens")
    lines("last training loss", result.last_loss, "nats/token")
    lines("held-out loss of the base model", result.first_held_out_loss, "nats/token")
    lines("held-out loss, best", result.best_held_out_loss, "nats/token")
    lines("best step", result.best_step, "step")


def answered(
    model: Path,
    device: str,
    adapter: Path,
    seen: Sequence[Messages],
    unseen: Sequence[Messages],
    lines: Lines,
) -> None:
    """Answer the unseen rows from every side, and print how good the answers are."""
    engine = Engine(model, device)
    engine.load_adapter("adapted", adapter)
    shots = [turn for messages in seen[:SHOTS] for turn in messages if turn["role"] != "system"]
    wanted = [messages[-1]["content"] for messages in unseen]
    for side in SIDES:
        adapters = {"adapted": 1.0} if side == "adapted" else {}
        prompts = [with_shots(messages[:-1], shots if side == "few_shot" else []) for messages in unseen]
        began = time.perf_counter()
        texts, tokens = [""] * len(prompts), [0] * len(prompts)
        requests = [Request(side, adapters, prompt) for prompt in prompts]
        for deltas in engine.generate(requests, max_new_tokens=LONGEST_ANSWER_TOKENS):
            for delta in deltas:
                texts[delta.row] += delta.text
                tokens[delta.row] = delta.tokens
        seconds = time.perf_counter() - began
        lines(f"{side}: answering", seconds, "s")
        lines(f"{side}: answering speed", sum(tokens) / seconds, "tokens/s")
        for rule, share in shares(texts, wanted):
            lines(f"{side}: {rule}", share, "share")


def with_shots(messages: Messages, shots: Messages) -> Messages:
    """The prompt with examples between its system message and its question."""
    start = 1 if messages[0]["role"] == "system" else 0
    return [*messages[:start], *shots, *messages[start:]]


def shares(texts: Sequence[str], wanted: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Of all answers: those that are JSON objects, have the wanted keys, and have the wanted content."""
    pairs = [(parsed(text), json.loads(answer)) for text, answer in zip(texts, wanted, strict=True)]
    valid = [(given, answer) for given, answer in pairs if given is not None]
    yield "valid JSON", len(valid) / len(pairs)
    yield "right keys", sum(given.keys() == answer.keys() for given, answer in valid) / len(pairs)
    yield "exact", sum(given == answer for given, answer in valid) / len(pairs)


def parsed(text: str) -> Mapping[str, Any] | None:
    """The JSON object that `text` is, if it is one."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


if __name__ == "__main__":
    main()
