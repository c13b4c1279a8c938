"""A model's folder is checked by its headers alone: complete, safe, and the same as before."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from jobs.base_models import weights
from storage import files
from storage.errors import StudioError
from tests.jobs.architectures import CONFIGS, config_of, model_of


@pytest.fixture
def folder(home: Path, tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_in_the_files_are_those_of_the_model(name: str, tmp_path: Path) -> None:
    model = model_of(config_of(name), device="cpu")
    model.save_pretrained(tmp_path)
    assert weights.parameters(tmp_path) == model.num_parameters()


def test_complete_folder_is_accepted_without_a_chat_template(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    weights.check_folder(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(StudioError, match=name):
        weights.check_folder(folder)


@pytest.mark.parametrize("ending", weights.PICKLED)
def test_pickled_weights_are_refused_by_name_and_never_opened(folder: Path, ending: str) -> None:
    (folder / "model.safetensors").rename(folder / f"weights{ending}")
    (folder / f"weights{ending}").chmod(0)
    with pytest.raises(StudioError, match=f"weights{ending}.*pickled"):
        weights.check_folder(folder)


def test_pickles_beside_safetensors_do_no_harm(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    weights.check_folder(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(StudioError, match=r"tokenizer\.json"):
        weights.check_folder(folder)


def test_program_code_of_the_model_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoConfig": "evil.Config"}}))
    with pytest.raises(StudioError, match="auto_map"):
        weights.check_folder(folder)


def test_missing_shard_is_named(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    weights.check_folder(folder)
    shards[1].unlink()
    with pytest.raises(StudioError, match=shards[1].name):
        weights.check_folder(folder)


@pytest.mark.parametrize(
    "shard", ["../model.safetensors", "/etc/passwd", "sub/model.safetensors", "model.bin"]
)
def test_index_that_leads_elsewhere_is_refused(folder: Path, shard: str) -> None:
    (folder / weights.INDEX_FILE).write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(StudioError, match="not a file of this folder"):
        weights.check_folder(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": {}}',
        struct.pack("<Q", 2) + b"{}" + b"bytes that no tensor has",
    ],
)
def test_damaged_safetensors_are_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(StudioError, match=r"model\.safetensors is damaged"):
        weights.check_folder(folder)


def test_every_cut_of_the_weights_is_noticed(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    for length in range(0, len(whole), len(whole) // 40):
        (folder / "model.safetensors").write_bytes(whole[:length])
        with pytest.raises(StudioError):
            weights.check_folder(folder)


def test_weights_hash_follows_the_weights(folder: Path) -> None:
    before = weights.weights_sha256(folder)
    path = folder / "model.safetensors"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    assert weights.weights_sha256(folder) != before


def test_weights_hash_is_kept_while_the_files_are_unchanged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_json(folder / weights.ORIGIN_FILE, {"id": "x"})
    first = weights.weights_sha256(folder)
    monkeypatch.setattr(files, "sha256_of", lambda path: pytest.fail("hashed again"))
    assert weights.weights_sha256(folder) == first
    assert files.read_json(folder / weights.ORIGIN_FILE)["id"] == "x"
