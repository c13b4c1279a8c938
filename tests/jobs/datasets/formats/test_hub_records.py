"""A dataset of the hub arrives by its id, and every refusal has its own sentence."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.datasets.hub_server import Hub, serving

ROOT = Path(__file__).parents[4]
PAIRS = [(f"Question {n}?", f"Answer {n}.") for n in range(5)]
JSONL = "".join(json.dumps({"prompt": q, "response": a}) + "\n" for q, a in PAIRS).encode()
# The libraries look at the hub's address when they are loaded: so in a process of its own, as an import is.
PROGRAM = """
import json, sys
from pathlib import Path
from jobs.datasets.formats.hub_records import open_hub
from jobs.datasets.records import ReadOptions
from storage.errors import StudioError

def told_of(hub_id, options):
    try:
        with open_hub(hub_id, ReadOptions.from_json(options), Path("work")) as source:
            told = {"choices": source.choices, "mapping": source.mapping, "certain": source.certain}
            try:
                return {**told, "rows": [[item.row, item.value] for item in source.items]}
            except StudioError as error:
                return {**told, "why": error.as_json()}
    except StudioError as error:
        return error.as_json()

print(json.dumps([told_of(*case) for case in json.loads(sys.argv[1])]))
"""
# What is asked for → what must come of it; all in one process, because its libraries take seconds to load.
LINK = "https://huggingface.co/datasets/org/plain"
REFUSED = {
    "unknown": ("org/nothing", {}, "no dataset org/nothing"),
    "private": ("org/closed", {}, "does not let this machine have org/closed"),
    "gated": ("org/gated", {}, "accept its terms"),
    "gated files": ("org/terms", {}, "accept its terms"),
    "an error of the hub": ("org/broken", {}, "answered 500"),
    "a script": ("org/script", {}, "a program"),
    "no data": ("org/pictures", {}, "cannot be read as one table"),
    "an unknown subset": ("org/splits", {"subset": "nonsense"}, "no subset “nonsense”"),
    "an unknown split": ("org/splits", {"subset": "small", "split": "nonsense"}, "no split “nonsense”"),
    "a path": ("../../etc/passwd", {}, "no name of a dataset"),
    "a space": ("a b", {}, "no name of a dataset"),
    "nothing": ("", {}, "no name of a dataset"),
}
TAKEN: dict[str, tuple[str, dict[str, str]]] = {
    "a link": (LINK, {}),
    "subsets": ("org/splits", {}),
    "all chosen": ("org/splits", {"subset": "large", "split": "test"}),
    "subset chosen": ("org/splits", {"subset": "large"}),
    "no split to train on": ("org/odd", {}),
}
Told = dict[str, dict[str, Any]]


def parquet(count: int) -> bytes:
    import pyarrow
    from pyarrow import parquet as file

    buffer = io.BytesIO()
    file.write_table(
        pyarrow.table({"question": [q for q, _ in PAIRS][:count], "answer": [a for _, a in PAIRS][:count]}),
        buffer,
    )
    return buffer.getvalue()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving() as hub:
        hub.datasets["org/plain"] = {"train.jsonl": JSONL, "README.md": b"# Plain\n"}
        hub.datasets["org/splits"] = {"one.parquet": parquet(5), "two.parquet": parquet(2), "README.md": b"""---
configs:
- config_name: small
  data_files: [{split: validation, path: two.parquet}]
- config_name: large
  data_files: [{split: train, path: one.parquet}, {split: test, path: two.parquet}]
---
"""}  # fmt: skip
        hub.datasets["org/odd"] = {"validation.jsonl": JSONL, "test.jsonl": JSONL, "README.md": b"# Odd\n"}
        hub.datasets["org/script"] = {"script.py": b"raise SystemExit", "README.md": b"# Script\n"}
        hub.datasets["org/pictures"] = {"README.md": b"# Nothing else\n"}
        hub.datasets["org/terms"] = {"train.jsonl": JSONL, "README.md": b"# Terms\n"}
        hub.gated_files.add("org/terms")
        hub.refuses["org/gated"] = (403, "GatedRepo")
        hub.refuses["org/closed"] = (401, "")
        hub.refuses["org/broken"] = (500, "")
        yield hub


def asked(url: str, folder: Path, cases: list[tuple[str, dict[str, str]]]) -> list[dict[str, Any]]:
    environment = {**os.environ, "HF_ENDPOINT": url, "HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", PROGRAM, json.dumps(cases)]
    ended = subprocess.run(
        arguments, capture_output=True, text=True, env=environment, cwd=folder, timeout=180
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert [path for path in folder.rglob("*") if path.is_file()] == [], "nothing stays of what was written"
    return list(json.loads(ended.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def told(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What came of every case, in a folder with another one that is named like a dataset."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "org" / "nothing").mkdir(parents=True)
    cases = {**{name: (hub_id, options) for name, (hub_id, options, _) in REFUSED.items()}, **TAKEN}
    return dict(zip(cases, asked(hub.url, folder, list(cases.values())), strict=True))


def test_the_rows_of_the_only_split_arrive(told: Told) -> None:
    found = told["a link"]
    assert found["rows"] == [[n, {"prompt": q, "response": a}] for n, (q, a) in enumerate(PAIRS, start=1)]
    assert (found["mapping"], found["certain"]) == ({"prompt": "prompt", "response": "response"}, True)


def test_several_subsets_have_to_be_chosen_from(told: Told) -> None:
    found = told["subsets"]
    assert found["choices"]["subset"] == ["small", "large"] and not found["certain"]
    assert "“small”, “large”" in found["why"]["message"]


def test_a_chosen_subset_and_split_arrive(told: Told) -> None:
    found = told["all chosen"]
    assert [value["question"] for _, value in found["rows"]] == ["Question 0?", "Question 1?"]
    assert found["choices"]["split"] == ["train", "test"]


def test_the_split_to_train_on_needs_no_choice(told: Told) -> None:
    assert len(told["subset chosen"]["rows"]) == 5


def test_splits_none_of_which_is_for_training_have_to_be_chosen_from(told: Told) -> None:
    found = told["no split to train on"]
    assert "2 splits" in found["why"]["message"]
    assert set(found["choices"]["split"]) == {"validation", "test"}


@pytest.mark.parametrize("name", REFUSED)
def test_every_refusal_has_its_own_sentence(told: Told, name: str) -> None:
    assert REFUSED[name][2] in told[name]["message"] and told[name]["remedy"]


def test_no_network_is_said(tmp_path: Path) -> None:
    (found,) = asked("http://127.0.0.1:9", tmp_path, [("org/plain", {})])
    assert "cannot be reached" in found["message"]
