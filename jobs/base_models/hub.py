"""Models from the Hugging Face hub: safetensors and tokenizer only, resumable, errors in plain words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.base_models import weights
from jobs.base_models.download import Report, Unreachable
from jobs.base_models.shapes import LLAMA_LIKE
from storage import files
from storage.errors import StudioError

ALLOWED = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model", "LICENSE*", "USE_POLICY*"]
# Subfolders hold other formats (onnx, original), "consolidated" the same weights once more.
IGNORED = ["*/*", "consolidated*", "*.py", *(f"*{ending}" for ending in weights.PICKLED)]
ANSWER_SECONDS = 5
# Config models of transformers whose repositories also carry code for older versions of it.
BUILT_IN = LLAMA_LIKE | {"phi3", "gpt2"}


def fetch(hub_id: str, folder: Path, report: Report, api: Any = None) -> None:
    """Download a model into `folder`, going on where an earlier try was cut off.

    Raises Unreachable without a network; StudioError if it is unknown, gated, unsuitable or too large.
    """
    from huggingface_hub import HfApi

    api = api or HfApi()
    report(f"Asking the hub for {hub_id}", None, None)
    with _errors_in_words(hub_id):
        api.model_info(hub_id, timeout=ANSWER_SECONDS)
        listed = _snapshot(api, hub_id, folder, dry_run=True)
        total = sum(file.file_size or 0 for file in listed)
        missing = sum(file.file_size or 0 for file in listed if file.will_download)
        if not any(file.filename.endswith(".safetensors") for file in listed):
            raise StudioError(
                f"{hub_id} has no weights in the safetensors format.",
                "Choose a version of the model that has; pickled weights could run any program.",
            )
        if missing > files.free_bytes():
            raise files.full_disk(missing)
        _snapshot(api, hub_id, folder, tqdm_class=_reporting_bar(report, f"Fetching {hub_id}", total))
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    _drop_code_of_built_in_models(folder)
    weights.check_folder(folder)


def _snapshot(api: Any, hub_id: str, folder: Path, **options: Any) -> Any:
    return api.snapshot_download(
        hub_id,
        local_dir=folder,
        allow_patterns=ALLOWED,
        ignore_patterns=IGNORED,
        etag_timeout=ANSWER_SECONDS,
        **options,
    )


@contextmanager
def _errors_in_words(hub_id: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise StudioError(
            f"{hub_id} asks you to accept its licence first.",
            f"Accept it at huggingface.co/{hub_id}, then give this machine your token: run hf auth login.",
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise StudioError(
            f"The hub has no model {hub_id}, or it is private.",
            "Check the spelling; for a private model run hf auth login on this machine.",
        ) from error
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise StudioError(
                f"The hub does not let this machine have {hub_id} ({code}).",
                "Run hf auth login on this machine with an account that may read it.",
            ) from error
        raise Unreachable(f"The hub answered {code}.", "Try again later.") from error
    # HTTPError is the HTTP client's own; the library changed clients, but always knew it by this name.
    except (errors.HTTPError, ConnectionError, errors.LocalEntryNotFoundError) as error:  # type: ignore[attr-defined]
        raise Unreachable(
            "The Hugging Face hub cannot be reached.",
            "Check the connection, then fetch it again; or add a model from a folder or a GGUF file.",
        ) from error
    except OSError as error:
        with files.full_disk_as_error():
            raise error


def _reporting_bar(report: Report, words: str, total_bytes: int) -> type:
    """A progress bar that draws nothing and reports the bytes written, of all files together."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            # The library makes three bars: files, bytes received, and bytes written; the last one counts.
            self._is_written = options.get("desc", "").startswith("Reconstructing")
            self._bytes = 0
            options.pop("name", None)
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._is_written:
                self._bytes += int(n or 0)
                report(words, min(self._bytes, total_bytes), total_bytes)

    return Bar


def _drop_code_of_built_in_models(folder: Path) -> None:
    """Take the pointer to program code out of a config whose model transformers has built in."""
    config = weights.read_config(folder)
    if "auto_map" in config and config.get("model_type") in BUILT_IN:
        del config["auto_map"]
        files.write_json(folder / "config.json", config)
