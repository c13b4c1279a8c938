"""A model of the hub arrives without code or pickles, and every refusal has its own sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from jobs.base_models import hub
from jobs.base_models.download import Unreachable
from storage import files
from storage.errors import StudioError
from tests.jobs.base_models.servers import Place, serving

Reports = list[tuple[str, int | None, int | None]]


@pytest.fixture
def place(home: Path, tiny_model: Path) -> Iterator[Place]:
    """A hub with the tiny model, and beside it what must not be fetched."""
    content = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
    config = json.loads(content["config.json"])
    content["config.json"] = json.dumps({**config, "auto_map": {"AutoConfig": "code.Config"}}).encode()
    unwanted = (
        "code.py",
        "pytorch_model.bin",
        "onnx/model.safetensors",
        "consolidated.safetensors",
        "README.md",
    )
    with serving({**content, **dict.fromkeys(unwanted, b"unwanted")}) as place:
        yield place


def fetch(place: Place, folder: Path, hub_id: str = "org/model") -> Reports:
    reports: Reports = []
    hub.fetch(hub_id, folder, lambda *report: reports.append(report), HfApi(endpoint=place.url, token=False))
    return reports


def test_only_safe_files_arrive_with_their_bytes_counted(
    place: Place, tiny_model: Path, tmp_path: Path
) -> None:
    reports = fetch(place, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {path.name for path in tiny_model.iterdir()}
    done, total = reports[-1][1:]
    assert done == total == sum(len(place.files[name]) for name in names)
    weights = "model.safetensors"
    assert (tmp_path / "model" / weights).read_bytes() == (tiny_model / weights).read_bytes()


def test_built_in_model_loses_its_pointer_to_code(place: Place, tmp_path: Path) -> None:
    fetch(place, tmp_path / "model")
    assert "auto_map" not in files.read_json(tmp_path / "model" / "config.json")


def test_model_that_needs_code_is_refused(place: Place, tmp_path: Path) -> None:
    config = json.loads(place.files["config.json"])
    place.files["config.json"] = json.dumps({**config, "model_type": "novel"}).encode()
    with pytest.raises(StudioError, match="auto_map"):
        fetch(place, tmp_path / "model")


def test_second_try_fetches_only_what_is_missing(place: Place, tmp_path: Path) -> None:
    weights = f"resolve/{'c' * 40}/model.safetensors"
    place.refuses_with = {f"GET org/model/{weights}": (403, "")}
    with pytest.raises(StudioError):
        fetch(place, tmp_path / "model")
    place.refuses_with = {}
    place.requests.clear()
    fetch(place, tmp_path / "model")
    fetched = [path for method, path, _ in place.requests if method == "GET" and "resolve" in path]
    assert fetched == [f"org/model/{weights}"]


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "RepoNotFound", "has no model org/model"),
        (401, "RepoNotFound", "has no model org/model"),
        (403, "GatedRepo", "accept its licence"),
        (401, "GatedRepo", "accept its licence"),
        (403, "", "does not let this machine"),
    ],
)
def test_refusal_says_what_to_do(place: Place, tmp_path: Path, status: int, code: str, said: str) -> None:
    place.refuses_with = {"api/models": (status, code)}
    with pytest.raises(StudioError, match=said) as refused:
        fetch(place, tmp_path / "model")
    assert not isinstance(refused.value, Unreachable)
    assert refused.value.remedy


def test_no_network_is_a_sentence(place: Place, tmp_path: Path) -> None:
    with serving({}) as gone:
        pass
    with pytest.raises(Unreachable, match="hub cannot be reached"):
        fetch(gone, tmp_path / "model")


def test_model_without_safetensors_is_refused_before_anything_is_fetched(
    place: Place, tmp_path: Path
) -> None:
    del (
        place.files["model.safetensors"],
        place.files["onnx/model.safetensors"],
        place.files["consolidated.safetensors"],
    )
    with pytest.raises(StudioError, match="no weights in the safetensors format"):
        fetch(place, tmp_path / "model")


def test_disk_that_is_too_small_is_known_before(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda: 1000)
    with pytest.raises(StudioError, match="disk is full"):
        fetch(place, tmp_path / "model")
    assert not any(method == "GET" and "resolve" in path for method, path, _ in place.requests)
