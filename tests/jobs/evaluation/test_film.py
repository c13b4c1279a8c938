"""What a run had no time to film is answered afterwards by the base model and its saved looks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from jobs.evaluation import film
from jobs.serving.schema import SideAnswer, SideRequest
from jobs.training import folders
from jobs.training.looks import Looks
from storage import adapters, files
from storage.adapters import Adapter
from tests.jobs.training.row_engine import Recorder

WEIGHTS = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.ones(2, 4)}


@pytest.fixture
def adapter(home: Path) -> Adapter:
    """One with nine looks, on a dataset with ten held-out rows."""
    lines = [
        {
            "row": number,
            "messages": [
                {"role": "system", "content": "Answer in JSON."},
                {"role": "user", "content": "Row? " * number},
                {"role": "assistant", "content": f"{number}"},
            ],
            "split": "held_out" if number > 10 else "train",
        }
        for number in range(1, 21)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    files.write_text(files.dataset_folder("dtst2222") / "rows.jsonl", text)
    looks = Looks(files.run_folder("jbxx2222"), Recorder())
    for step in range(10, 90, 10):
        looks.keep(step, LoraConfig(r=2), WEIGHTS)
    return adapters.add(
        id="jbxx2222-1", name="Numbers", job_id="jbxx2222", dataset_id="dtst2222", base_model_id="tiny", rank=4,
        alpha=8.0, target_modules=["q_proj"], parameters=1, size_bytes=1, weights_sha256="0" * 64,
        base_weights_sha256="1" * 64, held_out_loss=None, best_step=None, settings={},
    )  # fmt: skip


class Model:
    """Answers with who it is."""

    def __init__(self) -> None:
        self.asked: list[SideRequest] = []

    def ask(self, requests: list[SideRequest], max_new_tokens: int) -> list[SideAnswer]:
        self.asked += requests
        return [{"text": f"I am {request.side}"} for request in requests]  # type: ignore[typeddict-item]


def made(adapter: Adapter, model: Model) -> dict[str, Any] | None:
    return film.make(adapter, model.ask, lambda *words: None, lambda: False)


def test_looks_answer_three_held_out_prompts_from_the_base_model_to_the_last_step(adapter: Adapter) -> None:
    model = Model()
    found = made(adapter, model)
    assert found is not None and len(found["prompts"]) == 3
    for prompt in found["prompts"]:
        assert prompt["row"] > 10 and prompt["wanted"] == str(prompt["row"])
        steps = [frame["step"] for frame in prompt["frames"]]
        assert steps[0] == 0 and steps[1] == 10 and steps[-1] == 80 and len(steps) == 1 + film.MOST_FRAMES
        assert prompt["frames"][0]["text"] == "I am base"
        assert prompt["frames"][-1]["text"] == "I am jbxx2222-1@80"
    assert model.asked[0].adapters == {} and model.asked[1].adapters == {"jbxx2222-1@10": 1.0}
    assert all(request.messages[0]["role"] == "system" for request in model.asked)


def test_a_whole_film_is_not_made_again_and_the_train_page_has_it_too(adapter: Adapter) -> None:
    found = made(adapter, Model())
    again = Model()
    assert made(adapter, again) == found and not again.asked
    assert folders.film(files.run_folder("jbxx2222")) == found


@pytest.mark.parametrize(
    "kept",
    [slice(None, -1), slice(1, None), slice(None, None, film.MOST_FRAMES)],
    ids=["without its end", "without its beginning", "with nothing in between"],
)
def test_one_with_a_gap_is_made_anew(adapter: Adapter, kept: slice) -> None:
    whole = made(adapter, Model())
    assert whole is not None
    found = {"prompts": [{**prompt, "frames": prompt["frames"][kept]} for prompt in whole["prompts"]]}
    files.write_json(files.run_folder("jbxx2222") / folders.FILM_FILE, found)
    model = Model()
    assert made(adapter, model) == whole and model.asked


@pytest.mark.parametrize("looks", [1, 3])
def test_a_short_run_has_a_frame_for_each_look_and_is_whole_with_it(adapter: Adapter, looks: int) -> None:
    for _, folder in folders.looks(files.run_folder("jbxx2222"))[looks:]:
        shutil.rmtree(folder)
    found = made(adapter, Model())
    assert found is not None
    steps = [frame["step"] for frame in found["prompts"][0]["frames"]]
    assert steps == [10 * number for number in range(looks + 1)]
    again = Model()
    assert made(adapter, again) == found and not again.asked


def test_after_a_stop_nobody_is_asked(adapter: Adapter) -> None:
    model = Model()
    assert film.make(adapter, model.ask, lambda *words: None, lambda: True) is None and not model.asked


def test_without_looks_or_held_out_rows_there_is_none(adapter: Adapter) -> None:
    files.write_text(files.dataset_folder("dtst2222") / "rows.jsonl", "")
    assert made(adapter, Model()) is None


def test_an_example_that_the_model_cannot_read_is_no_part_of_it(adapter: Adapter) -> None:
    model = Model()
    whole = made(adapter, model)
    assert whole is not None
    (files.run_folder("jbxx2222") / folders.FILM_FILE).unlink()
    longest = max(len(request.messages[-1]["content"]) for request in model.asked)

    def reads(messages: list[dict[str, str]]) -> bool:
        return messages[0]["role"] == "system" and len(messages[-1]["content"]) < longest

    found = film.make(adapter, model.ask, lambda *words: None, lambda: False, reads)
    assert found is not None and found["prompts"] == whole["prompts"][:2]


def test_what_is_asked_is_what_has_to_be_read_and_an_answer_to_nothing_is_not_asked_for(
    adapter: Adapter,
) -> None:
    """Two held-out rows: one without the system message of all training rows, one that begins with its answer."""
    path = files.dataset_folder("dtst2222") / "rows.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()[:12]]
    lines[10]["messages"] = lines[10]["messages"][1:]
    lines[11]["messages"] = lines[11]["messages"][2:]
    files.write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    read: list[list[dict[str, str]]] = []

    def reads(messages: list[dict[str, str]]) -> bool:
        read.append(messages)
        return True

    model = Model()
    found = film.make(adapter, model.ask, lambda *words: None, lambda: False, reads)
    assert found is not None and [prompt["row"] for prompt in found["prompts"]] == [11]
    assert read == [model.asked[0].messages] and read[0][0] == {
        "role": "system",
        "content": "Answer in JSON.",
    }


def test_a_damaged_film_is_made_again(adapter: Adapter) -> None:
    path = files.run_folder("jbxx2222") / folders.FILM_FILE
    for damage in ("{", "[]", '{"prompts": []}', '{"prompts": [{"frames": [{}]}]}'):
        path.write_text(damage)
        assert folders.film(path.parent) is None
    assert made(adapter, Model()) is not None
