"""The proof with the starter model: trained far too long on few rows, the needle and the curve's words say so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from jobs import adapter_record
from jobs.base_models import catalogue
from jobs.evaluation import curve, film, rules, side_effects
from jobs.progress import Progress
from jobs.serving import client
from jobs.serving.schema import CompareSettings, SideAnswer, SideRequest
from jobs.training import job
from storage import adapters, config, database, files
from storage.adapters import Adapter
from storage.metrics import Metric
from tests.jobs.serving.parts import end_server

pytestmark = pytest.mark.starter

THINGS = [
    "kettle",
    "harbour",
    "ladder",
    "violin",
    "meadow",
    "compass",
    "candle",
    "bridge",
    "anchor",
    "teapot",
]
QUESTIONS = ["What is a {}?", "Tell me about a {}.", "Do you like a {}?", "Where is a {}?"]
SETTINGS = {"max_steps": 18, "epochs": 100, "tokens_per_step": 600, "learning_rate": 4e-3}
TRAIN_ROWS = 6


class Kept(Progress):
    """Remembers what a run measured."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []

    def metric(self, step: int, **values: float) -> None:
        self.metrics += [Metric(step, name, value) for name, value in values.items()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, starter_model: Path) -> Iterator[tuple[Adapter, Kept]]:
    """An adapter of eighteen passes over six rows, and what the run measured."""
    before = config._current
    config.use(config.from_environment(data_dir=tmp_path_factory.mktemp("over") / "home"))
    database.connect()
    base = catalogue.add_custom(str(starter_model)).id
    rows = []
    for number, thing in enumerate(THINGS):
        # What is held out is answered in another way, so that learning the others by heart shows.
        said = (
            f"A {thing}. I saw one today." if number >= TRAIN_ROWS else "Arr, matey! We be sailing. Yo ho ho!"
        )
        turns = [("user", QUESTIONS[number % 4].format(thing)), ("assistant", said)]
        messages = [{"role": role, "content": content} for role, content in turns]
        split = "train" if number < TRAIN_ROWS else "held_out"
        rows.append(json.dumps({"row": number + 1, "messages": messages, "split": split}) + "\n")
    files.write_text(files.dataset_folder("dprt2222") / "rows.jsonl", "".join(rows))
    kept = Kept()
    spec: dict[str, Any] = {
        "job_id": "jprt2222", "attempt": 1, "kind": "training", "dataset_id": "dprt2222", "base_model_id": base,
        "rank": 16, "settings": SETTINGS, "device": "cpu", "name": "Pirate",
    }  # fmt: skip
    assert job.run(spec, kept)["status"] == "finished"
    # What the last look saved, as after a run whose end was kept: its best state is that of an early step.
    yield _published("jprt2222-1", base), kept
    end_server()
    database.close()
    if before is not None:
        config.use(before)


def _published(adapter_id: str, base: str, blank: bool = False) -> Adapter:
    """The adapter of the run's last look; `blank`: with every B zero, as before the first step."""
    folder = files.adapter_folder(adapter_id)
    shutil.copytree(files.run_folder("jprt2222") / "looks" / "step-000018", folder)
    path = folder / adapter_record.WEIGHTS_FILE
    if blank:
        values = {name: value * 0 if "lora_B" in name else value for name, value in load_file(path).items()}
        save_file(
            {name: value.contiguous() for name, value in values.items()}, path, metadata={"format": "pt"}
        )
    return adapters.add(
        id=adapter_id, name="Pirate", job_id="jprt2222", dataset_id="dprt2222", base_model_id=base, rank=16,
        alpha=32.0, target_modules=["q_proj"], parameters=1, size_bytes=1, weights_sha256=files.sha256_of(path),
        base_weights_sha256="1" * 64, held_out_loss=None, best_step=18, settings={},
    )  # fmt: skip


def measured(adapter: Adapter) -> dict[str, Any]:
    """Its side effects by the real model server."""

    def ask(requests: list[SideRequest], max_new_tokens: int) -> list[SideAnswer]:
        return client.answers(adapter.base_model_id, requests, CompareSettings(max_new_tokens=max_new_tokens))

    def likelihoods(continuations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [dict(one) for one in client.likelihoods(adapter.base_model_id, continuations)]

    habit = rules.KINDS["begins_with"].make(texts=["Arr"])
    training = ["Arr, matey! We be sailing. Yo ho ho!"]
    return side_effects.measure(
        adapter,
        ask,
        likelihoods,
        ["What is your name?"],
        [habit],
        training,
        lambda *words: None,
        lambda: False,
    )


def test_an_overtrained_adapter_moves_the_needle(
    trained: tuple[Adapter, Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_effects, "PROMPTS", side_effects.PROMPTS[::3])  # as telling, in less time
    found = measured(trained[0])
    assert found["code"] == "strong" and found["needle"] > 0.6, found["sentence"]
    assert found["unchanged"] < found["prompts"] / 3 and found["drift"]["kl_per_token"] > 0.5
    assert found["style"]["adapted"] > found["style"]["base"] + 0.3 and "Arr" in found["sentence"]
    assert found["copied"]["answers"] > 0, "what it learned by heart is said where nobody asked for it"


def test_an_untouched_adapter_leaves_it_at_hardly(
    trained: tuple[Adapter, Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_effects, "PROMPTS", side_effects.PROMPTS[::4])
    found = measured(_published("jprt3333-1", trained[0].base_model_id, blank=True))
    assert (found["code"], found["needle"], found["unchanged"]) == ("hardly", 0.0, found["prompts"])
    assert found["own"]["unchanged"] == 1


def test_its_curve_is_called_memorising(trained: tuple[Adapter, Kept]) -> None:
    class Run:
        total_steps = 18
        result = MappingProxyType({})

    found = curve.words(Run(), [one for one in trained[1].metrics if one.name in curve.NAMES])  # type: ignore
    assert found["code"] == "memorising", found["sentence"]


def test_its_film_goes_from_the_base_model_to_what_was_learned_by_heart(
    trained: tuple[Adapter, Kept],
) -> None:
    adapter = trained[0]

    def ask(requests: list[SideRequest], max_new_tokens: int) -> list[SideAnswer]:
        return client.answers(adapter.base_model_id, requests, CompareSettings(max_new_tokens=max_new_tokens))

    found = film.make(adapter, ask, lambda *words: None, lambda: False)
    assert found is not None and len(found["prompts"]) == 3
    for prompt in found["prompts"]:
        texts = [frame["text"] for frame in prompt["frames"]]
        assert not texts[0].startswith("Arr") and texts[-1].startswith("Arr")
