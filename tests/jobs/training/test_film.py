"""The film strip: three prompts answered again while a run goes on unchanged, in time that nobody misses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from jobs.generation.chat import ChatFormat
from jobs.training import film as film_module
from jobs.training import film_prompts, folders, job
from jobs.training.film import SHARE, Film
from jobs.training.lean import LeanEngine
from storage import files
from tests.jobs.training.row_engine import Recorder
from tests.jobs.training.test_job import spec

__all__ = ["spec"]


class Clock:
    """A time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Answering(Film):
    """Answers from a list, each taking a second or as long as it is told to."""

    def __init__(
        self, run_folder: Path, prompts: list[film_prompts.FilmPrompt], clock: Clock, engine: Any
    ) -> None:
        super().__init__(run_folder, prompts, engine.chat, engine, Recorder(), clock)
        self.clock, self.seconds, self.fails = clock, 1.0, False

    def _answers(self, trial: int | None, should_stop: Any) -> list[list[int]]:
        if self.fails:
            raise RuntimeError("CUDA out of memory")
        found: list[int] = []
        for token in range(film_prompts.ANSWER_TOKENS):
            self.clock.now += self.seconds / film_prompts.ANSWER_TOKENS
            found.append(5 + token)
            if should_stop():
                break
        return [found] * len(self._prompt_ids)


@pytest.fixture
def prompts() -> list[film_prompts.FilmPrompt]:
    return [
        film_prompts.FilmPrompt(row, [{"role": "user", "content": "the fox"}], "fox") for row in (1, 2, 3)
    ]


@pytest.fixture
def engine(tiny_model: Path) -> Any:
    """What a film asks of the fast path, which these tests let nobody compute with."""
    bare = LeanEngine.__new__(LeanEngine)
    bare.chat = ChatFormat.load(tiny_model)  # type: ignore[attr-defined]
    bare.device = torch.device("cpu")
    return bare


def steps_of(run_folder: Path) -> list[int]:
    film = folders.film(run_folder)
    return [frame["step"] for frame in film["prompts"][0]["frames"]] if film else []


def test_three_rows_of_different_length_are_chosen_and_always_the_same(spec: dict[str, Any]) -> None:
    chosen = film_prompts.chosen("d1")
    assert chosen == film_prompts.chosen("d1") and len({prompt.row for prompt in chosen}) == 3
    assert all(prompt.row % 5 == 0 for prompt in chosen), "held-out rows"
    lengths = [len(prompt.messages[-1]["content"]) + len(prompt.wanted) for prompt in chosen]
    assert lengths == sorted(lengths) and film_prompts.chosen("gone") == []


def test_a_film_takes_no_more_of_the_time_than_its_share(
    tmp_path: Path, prompts: list[film_prompts.FilmPrompt], engine: Any
) -> None:
    clock = Clock()
    film = Answering(tmp_path, prompts, clock, engine)
    spent = 0.0
    for look in range(1, 13):
        clock.now += 60.0
        before = clock.now
        film.seen(look, 0)
        spent += clock.now - before
        assert spent <= SHARE * clock.now
    assert steps_of(tmp_path)[0] == 0 and len(steps_of(tmp_path)) >= 8


def test_a_short_run_gives_up_its_first_frame_and_none_is_written(
    tmp_path: Path, prompts: list[film_prompts.FilmPrompt], engine: Any
) -> None:
    clock = Clock()
    film = Answering(tmp_path, prompts, clock, engine)
    film.seconds = 20.0
    for look in range(1, 7):
        clock.now += 5.0
        film.seen(look, 0)
    assert folders.film(tmp_path) is None and clock.now <= 30.0 * (1 + SHARE)


def test_on_a_gpu_it_begins_when_kernels_may_be_compiled_unnoticed(
    tmp_path: Path, prompts: list[film_prompts.FilmPrompt], engine: Any
) -> None:
    clock = Clock()
    engine.device = torch.device("cuda")
    film = Answering(tmp_path, prompts, clock, engine)
    film.seconds = 0.1
    clock.now = 33.0
    film.seen(10, 0)
    assert folders.film(tmp_path) is None
    clock.now = 120.0
    film.seen(20, 0)
    assert steps_of(tmp_path) == [0, 20]


def test_an_interrupted_runs_film_goes_on(
    tmp_path: Path, prompts: list[film_prompts.FilmPrompt], engine: Any
) -> None:
    clock = Clock()
    first = Answering(tmp_path, prompts, clock, engine)
    clock.now = 1000.0
    first.seen(10, 0)
    second = Answering(tmp_path, prompts, Clock(), engine)
    second.clock.now = 2000.0
    second.seen(10, 0)
    assert steps_of(tmp_path) == [0, 10] and second.clock.now == 2000.0, "the same step is not asked again"
    second.clock.now = 3000.0
    second.seen(20, 0)
    assert steps_of(tmp_path) == [0, 10, 20]


def test_what_goes_wrong_ends_the_film_and_not_the_run(
    tmp_path: Path, prompts: list[film_prompts.FilmPrompt], engine: Any
) -> None:
    clock = Clock()
    film = Answering(tmp_path, prompts, clock, engine)
    film.fails = True
    clock.now = 1000.0
    film.seen(10, 0)
    film.fails = False
    film.seen(20, 0)
    assert folders.film(tmp_path) is None


def test_a_job_films_what_peft_answers_too(
    spec: dict[str, Any], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film_module, "SHARE", math.inf)
    spec["settings"] |= {"max_steps": 6, "tokens_per_step": 128, "learning_rate": 0.05}
    job.run(spec, Recorder())
    film, looks = folders.film(files.run_folder("j1")), folders.looks(files.run_folder("j1"))
    assert film is not None
    assert steps_of(files.run_folder("j1")) == [0, *[step for step, _ in looks]]
    assert film["prompts"][0].keys() == {"row", "prompt", "wanted", "frames"}
    chat = ChatFormat.load(tiny_model)
    for prompt, entry in zip(film_prompts.chosen("d1"), film["prompts"], strict=True):
        ids = chat.prompt_ids(prompt.messages)
        expected = greedy(tiny_model, files.attempt_folder("j1", 1) / "adapter", ids, chat)
        best = json.loads((files.attempt_folder("j1", 1) / "adapter" / "tailor.json").read_text())[
            "best_step"
        ]
        shown = next(frame["text"] for frame in entry["frames"] if frame["step"] == best)
        assert shown == expected
        assert entry["frames"][0]["text"] == greedy(tiny_model, None, ids, chat)


def greedy(base: Path, adapter: Path | None, ids: list[int], chat: ChatFormat) -> str:
    """The likeliest answer by transformers and PEFT as they come."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base)
    if adapter is not None:
        assert load_file(adapter / "adapter_model.safetensors")
        model = PeftModel.from_pretrained(model, adapter)
    found: list[int] = []
    with torch.no_grad():
        while len(found) < film_prompts.ANSWER_TOKENS:
            token = int(model(torch.tensor([[*ids, *found]])).logits[0, -1].argmax())
            if token in chat.stop_ids:
                break
            found.append(token)
    return chat.decode(found)


def test_filming_changes_no_step(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    spec["settings"] |= {"max_steps": 6, "tokens_per_step": 128}
    plain, filmed = Recorder(), Recorder()
    monkeypatch.setattr(film_module, "SHARE", 0.0)
    job.run({**spec, "job_id": "j2"}, plain)
    monkeypatch.setattr(film_module, "SHARE", math.inf)
    job.run(spec, filmed)
    assert folders.film(files.run_folder("j2")) is None and folders.film(files.run_folder("j1")) is not None
    for name in ("loss", "held_out_loss", "grad_norm"):
        assert filmed.all_of(name) == plain.all_of(name), name
    own, other = (
        (files.attempt_folder(name, 1) / "adapter" / "adapter_model.safetensors").read_bytes()
        for name in ("j1", "j2")
    )
    assert own == other


def test_a_sweep_films_its_leader(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_module, "SHARE", math.inf)
    spec["settings"] |= {"max_steps": 4, "tokens_per_step": 256, "try_ranks": [2, 4]}
    job.run(spec, Recorder())
    assert steps_of(files.run_folder("j1"))[0] == 0 and len(steps_of(files.run_folder("j1"))) > 2
