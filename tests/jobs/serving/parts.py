"""A studio to answer with: a dataset, random adapters on the tiny model, and the real model server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from jobs.adapter_record import RECORD_FILE
from jobs.base_models import catalogue
from jobs.serving import address
from jobs.training import folders
from storage import adapters, config, database, datasets, files

SYSTEM = "Answer in JSON."
TRAIN_ROWS, HELD_OUT_ROWS = 12, 10
DATASET_ID = "dtst2222"
CONTEXT_TOKENS = 60_000
ADAPTERS = ("dptr2222", "dptr3333")


@pytest.fixture(scope="module")
def base_model_id(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[str]:
    """The tiny model in a data folder of its own, with a dataset and two random adapters."""
    with studio(tmp_path_factory.mktemp("studio") / "home", tiny_model) as base_model_id:
        yield base_model_id


@pytest.fixture(scope="module")
def patient_base_model_id(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[str]:
    """The same with a model that writes on for minutes, where nobody stops it."""
    folder = tmp_path_factory.mktemp("studio")
    model = Path(shutil.copytree(tiny_model, folder / "model"))
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": CONTEXT_TOKENS}))
    with studio(folder / "home", model) as base_model_id:
        yield base_model_id


@contextmanager
def studio(home: Path, model: Path) -> Iterator[str]:
    """A data folder with a base model, a dataset and two random adapters; in the end its model server ends."""
    config.use(config.from_environment(data_dir=home))
    database.connect()
    base = catalogue.add_custom(str(model))
    add_dataset()
    for seed, adapter_id in enumerate(ADAPTERS):
        add_adapter(adapter_id, base.id, model, seed)
    yield base.id
    end_server()
    database.close()


def add_dataset() -> None:
    """Questions with JSON answers behind one system message."""
    lines = []
    for number in range(1, TRAIN_ROWS + HELD_OUT_ROWS + 1):
        answer = json.dumps({"n": number})
        turns = [("system", SYSTEM), ("user", f"Row {number}?"), ("assistant", answer)]
        messages = [{"role": role, "content": content} for role, content in turns]
        split = "train" if number <= TRAIN_ROWS else "held_out"
        lines.append(json.dumps({"row": number, "messages": messages, "split": split}))
    files.write_text(files.dataset_folder(DATASET_ID) / "rows.jsonl", "\n".join(lines) + "\n")
    datasets.add(
        id=DATASET_ID,
        name="Numbers",
        source_name="numbers.jsonl",
        format="messages",
        columns=["messages"],
        rows=TRAIN_ROWS + HELD_OUT_ROWS,
        train_rows=TRAIN_ROWS,
        held_out_rows=HELD_OUT_ROWS,
        problems=[],
        sha256="0" * 64,
    )


def add_adapter(
    adapter_id: str,
    base_model_id: str,
    base_folder: Path,
    seed: int,
    use_dora: bool = False,
    dataset_id: str = DATASET_ID,
    is_fresh: bool = False,
) -> None:
    """An adapter with random weights, large enough to change the answers; a fresh one (B = 0) changes none."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    settings = LoraConfig(
        r=4,
        lora_alpha=16,
        target_modules=["q_proj", "v_proj", "down_proj"],
        init_lora_weights=is_fresh,
        use_dora=use_dora,
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base_folder), settings)
    folder = files.adapter_folder(adapter_id)
    model.save_pretrained(folder)
    adapters.add(
        id=adapter_id,
        name=f"Numbers {seed}",
        job_id="jbxx2222",
        dataset_id=dataset_id,
        base_model_id=base_model_id,
        rank=4,
        alpha=16.0,
        target_modules=["q_proj", "v_proj", "down_proj"],
        parameters=sum(value.numel() for name, value in model.named_parameters() if "lora_" in name),
        size_bytes=files.folder_bytes(folder),
        weights_sha256=files.sha256_of(folder / "adapter_model.safetensors"),
        base_weights_sha256="1" * 64,
        held_out_loss=1.25,
        best_step=10,
        settings={"epochs": 3, "seed": seed},
    )


def add_look(adapter_id: str, step: int, of: str) -> None:
    """A saved look of an adapter's run: the weights of the adapter `of`."""
    adapter = adapters.get(adapter_id)
    files.write_json(files.adapter_folder(adapter_id) / RECORD_FILE, asdict(adapter))
    look = files.run_folder(adapter.job_id) / folders.LOOKS_FOLDER / folders.look_name(step)
    shutil.copytree(files.adapter_folder(of), look)


def end_server() -> None:
    """End the model server of this data folder, if one runs."""
    server = address.read()
    if server is not None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(server.process.pid)
            process.terminate()
            process.wait(15)
