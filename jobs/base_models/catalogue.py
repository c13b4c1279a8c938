"""The base models that can be chosen: the catalogue, and what the user added or already has."""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.base_models import gguf, shapes, weights
from jobs.base_models.shapes import ModelShape
from jobs.lora import targets
from storage import files, trash
from storage.errors import StudioError

STARTER_ID = "starter"
BYTES_PER_WEIGHT = 2  # models are published, and kept here, in bf16

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class BaseModel:
    """One base model; `folder` is None, and for a user's own hub model more, until it has been fetched.

    `kind` is "starter", "hub", "folder" or "gguf"; `source` is the hub's id or a path.
    """

    id: str
    name: str
    kind: str
    source: str
    licence: str | None = None
    family: str = ""
    note: str = ""
    gated: bool = False
    shape: ModelShape | None = None
    parameters: int | None = None
    folder: Path | None = None

    @property
    def available(self) -> bool:
        """Whether the model lies on this machine, ready to be loaded."""
        return self.folder is not None

    @property
    def public_name(self) -> str:
        """How others find it: its hub id, else the plain name; never a path of this machine."""
        return self.source if self.kind in ("starter", "hub") else self.name

    @property
    def architecture(self) -> str | None:
        """The model_type of its config.json."""
        return None if self.shape is None else self.shape.architecture

    @property
    def size_bytes(self) -> int | None:
        """How much has to be fetched, or lies here."""
        return None if self.parameters is None else BYTES_PER_WEIGHT * self.parameters


def all_models() -> list[BaseModel]:
    """The catalogue, then what the user added, oldest first."""
    added = [files.read_json(path) for path in sorted(files.models_root().glob("*.json"), key=_age)]
    return [_with_folder(model) for model in (*_listed(), *(BaseModel(**entry) for entry in added))]


def find(model_id: str) -> BaseModel:
    """The model with this id.

    Raises StudioError when there is none.
    """
    for model in all_models():
        if model.id == model_id:
            return model
    raise StudioError(
        f"There is no base model “{model_id}”.",
        "Choose one from the list, or add it by its hub name or its path.",
    )


def matrices_of(model: BaseModel) -> list[targets.Matrix]:
    """The model's linear layers, from its files or else its shape; empty when neither is known."""
    if model.folder is not None:
        return targets.matrices_of_folder(model.folder)
    return [] if model.shape is None else targets.matrices(model.shape)


def add_custom(text: str) -> BaseModel:
    """Add a model by its hub name ("organisation/name"), its folder, or its .gguf file.

    Adding what is already there returns it. A folder is linked, not copied, and ready at once.
    Raises StudioError for anything else, and for files that are not safe or not complete.
    """
    text = text.strip().removeprefix("https://huggingface.co/").rstrip("/")
    path = Path(text).expanduser()
    if text and path.is_dir():
        return _add_folder(path.resolve())
    if path.suffix.lower() == ".gguf" and path.is_file():
        return _add_gguf(path.resolve())
    if not _HUB_ID.fullmatch(text) or path.suffix.lower() == ".gguf":
        raise StudioError(
            f"“{text}” is neither a hub name, nor a folder or .gguf file on this machine.",
            "Give a name such as Qwen/Qwen3-0.6B, or the full path of a folder or file.",
        )
    known = next((model for model in all_models() if text in (model.id, model.source)), None)
    return known or _register(BaseModel(id=text, name=text.partition("/")[2], kind="hub", source=text))


def publish(model: BaseModel, filled: Path, source: str) -> Path:
    """Make a filled folder the model's own: note where it came from, hash it, rename it into place."""
    origin: dict[str, Any] = {
        "id": model.id,
        "kind": model.kind,
        "source": source,
        "licence": model.licence,
        "parameters": weights.parameters(filled),
    }
    files.write_json(filled / weights.ORIGIN_FILE, origin)
    weights.weights_sha256(filled)
    final = files.model_folder(files.slug(model.id))
    trash.to_trash(final)  # only a model that is no longer complete is published again
    files.publish_folder(filled, final)
    return final


@functools.cache
def _listed() -> tuple[BaseModel, ...]:
    """The models of catalogue.toml."""
    listed = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["model"]
    return tuple(_from_entry(entry) for entry in listed)


def _from_entry(entry: dict[str, Any]) -> BaseModel:
    shape = ModelShape(**entry["shape"])
    return BaseModel(
        id=entry["id"],
        name=entry["name"],
        kind="starter" if entry["id"] == STARTER_ID else "hub",
        source=entry.get("hub", entry["id"]),
        licence=entry["licence"],
        family=entry["family"],
        note=entry.get("note", ""),
        gated=entry.get("gated", False),
        shape=shape,
        parameters=shapes.parameters(shape),
    )


def _with_folder(model: BaseModel) -> BaseModel:
    """The model with what its folder says, if it is here; what a linked folder held may have gone since."""
    folder = files.model_folder(files.slug(model.id))
    if not (folder / weights.ORIGIN_FILE).exists():
        return model
    origin = files.read_json(folder / weights.ORIGIN_FILE)
    if not all((folder / name).exists() for name in ("config.json", *origin["stamps"])):
        return model
    facts = {**vars(model), "folder": folder, "parameters": origin.get("parameters", model.parameters)}
    facts["shape"] = shapes.from_config(weights.read_config(folder))
    return BaseModel(**facts)


def _add_folder(path: Path) -> BaseModel:
    weights.check_folder(path)
    shapes.from_config(weights.read_config(path))
    model = BaseModel(id=_id_of(path), name=path.name, kind="folder", source=str(path))
    return _add(model, lambda: publish(model, _linked(path), str(path)))


def _linked(path: Path) -> Path:
    """A new folder with a link to each of the model's files."""
    linked = files.temporary_folder()
    for file in path.iterdir():
        if file.is_file() and file.name != weights.ORIGIN_FILE and file.suffix not in weights.PICKLED:
            (linked / file.name).symlink_to(file)
    return linked


def _add_gguf(path: Path) -> BaseModel:
    gguf.check(path)
    return _add(BaseModel(id=_id_of(path), name=path.stem, kind="gguf", source=str(path)), lambda: None)


def _add(model: BaseModel, prepare: Callable[[], object]) -> BaseModel:
    """Register a model once; `prepare` does what must have succeeded before."""
    known = next((known for known in all_models() if known.id == model.id), None)
    if known is None or (known.kind == "folder" and not known.available):
        prepare()
    return known if known is not None and known.available else _register(model)


def _register(model: BaseModel) -> BaseModel:
    """Remember a model that the user named; what can be computed is not written down."""
    kept = {name: getattr(model, name) for name in ("id", "name", "kind", "source", "licence")}
    files.write_json(files.models_root() / f"{files.slug(model.id)}.json", kept)
    return find(model.id)


def _id_of(path: Path) -> str:
    """A short id for a path of this machine: folders of the same name in different places stay apart."""
    return f"{files.slug(path.stem)}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"


def _age(path: Path) -> float:
    return path.stat().st_mtime
