"""What lies in a model's folder, read without loading it: tensor headers, checks, the weights' hash."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from pathlib import Path
from typing import Any, NamedTuple

from storage import files
from storage.errors import StudioError

ORIGIN_FILE = "origin.json"
INDEX_FILE = "model.safetensors.index.json"
# Loading these runs whatever code their author put into them.
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# The safetensors library's own limit is 100 MB; real headers of the largest models stay under 10 MB.
LARGEST_HEADER_BYTES = 25_000_000
LARGEST_JSON_BYTES = 50_000_000
_WHAT_A_FOLDER_NEEDS = "A model folder holds config.json, tokenizer.json and *.safetensors."
# Causal masks and rotary tables that old checkpoints carry along: computed, never trained.
_COMPUTED = re.compile(r"\.attn\.(masked_)?bias$|\.inv_freq$")


class Tensor(NamedTuple):
    """One tensor's header."""

    dtype: str
    shape: tuple[int, ...]


def headers(folder: Path) -> dict[str, Tensor]:
    """The header of every tensor in a model's safetensors files, by tensor name.

    Raises StudioError for a missing, damaged or misplaced file.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        tensors |= _header(path)
    return tensors


def parameters(folder: Path) -> int:
    """All values of the model in a folder; weights that the output shares with the embedding count once."""
    tensors = {name: tensor for name, tensor in headers(folder).items() if not _COMPUTED.search(name)}
    if read_config(folder).get("tie_word_embeddings") and len(tensors) > 1:
        tensors.pop("lm_head.weight", None)
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model, sorted by name; an index decides where there is one.

    Raises StudioError when a file is missing or the index leads out of the folder.
    """
    index = folder / INDEX_FILE
    if not index.exists():
        found = sorted(folder.glob("*.safetensors"))
        if not found:
            raise StudioError(f"{folder.name} holds no weights (*.safetensors).", _WHAT_A_FOLDER_NEEDS)
        return found
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise StudioError(f"{INDEX_FILE} has no “weight_map”.", "Copy the model's files again.")
    names = sorted(set(shards.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise StudioError(
                f"{INDEX_FILE} names {name!r}, which is not a file of this folder.",
                "Fetch the model again from a source you trust.",
            )
        if not (folder / name).is_file():
            raise StudioError(f"The file {name} is missing.", "Copy it there, or fetch the model again.")
    return [folder / name for name in names]


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be used as a base model, or not safely.

    A missing tokenizer_config.json or chat template is fine: a plain template is used then.
    Raises StudioError naming the file that is wrong.
    """
    if not folder.is_dir():
        raise StudioError(f"There is no folder {folder}.", "Check the path.")
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled and not any(folder.glob("*.safetensors*")):
        raise StudioError(
            f"The weights in {pickled[0]} are pickled: loading them could run any program hidden in them.",
            "Use the safetensors version of this model, or convert it first where you trust it.",
        )
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise StudioError(f"{folder.name} has no {name}.", _WHAT_A_FOLDER_NEEDS)
    config = read_config(folder)
    if "auto_map" in config:
        raise StudioError(
            "config.json asks for program code of its own (“auto_map”), which the studio never runs.",
            "Choose a model that transformers has built in; if it is, delete “auto_map” from config.json.",
        )
    headers(folder)


def weights_sha256(folder: Path) -> str:
    """The SHA-256 over the folder's safetensors files, kept in origin.json as long as they are unchanged."""
    paths = weight_files(folder)
    stamps = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}
    origin_path = folder / ORIGIN_FILE
    origin = files.read_json(origin_path) if origin_path.exists() else {}
    if origin.get("stamps") == stamps:
        return str(origin["weights_sha256"])
    whole = hashlib.sha256()
    for path in paths:
        whole.update(bytes.fromhex(files.sha256_of(path)))
    if origin:
        files.write_json(origin_path, {**origin, "weights_sha256": whole.hexdigest(), "stamps": stamps})
    return whole.hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json."""
    return read_json(folder / "config.json")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file that somebody else wrote.

    Raises StudioError when it is missing, too large, or no JSON object.
    """
    if not path.is_file():
        raise StudioError(f"The file {path.name} is missing.", _WHAT_A_FOLDER_NEEDS)
    if path.stat().st_size > LARGEST_JSON_BYTES:
        raise StudioError(f"{path.name} is too large to be true.", "Fetch it again from a source you trust.")
    value = files.read_json(path)
    if not isinstance(value, dict):
        raise StudioError(f"{path.name} is not a JSON object.", "Copy the model's files again.")
    return value


def _header(path: Path) -> dict[str, Tensor]:
    """A safetensors header: 8 bytes of little-endian length, then JSON (the format's specification)."""
    damaged = StudioError(f"The file {path.name} is damaged or cut off.", "Copy or fetch it again.")
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise damaged
        (length,) = struct.unpack("<Q", start)
        if length > min(LARGEST_HEADER_BYTES, size - 8):
            raise damaged
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            tensors = {name: Tensor(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise damaged from error
    if end != size - 8 - length:
        raise damaged
    return tensors
