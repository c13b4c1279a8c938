"""A dataset of the Hugging Face hub as records, streamed; only the import's own process loads this."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from jobs.datasets.formats.archives import make_workspace
from jobs.datasets.formats.columnar import Rows, columns_of, items_of
from jobs.datasets.records import MOST_ROWS, Parsed, ReadOptions
from jobs.datasets.sources import Source, source_of
from storage import files
from storage.errors import StudioError

ANSWER_SECONDS = 10
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?")
_BATCH_ROWS = 1_000
_MEANT = ("train", "training", "train_sft")  # the split to learn from, where it is not the only one
_OFFLINE = "Check the connection and try again; or add a file from this computer."


@contextmanager
def open_hub(hub_id: str, options: ReadOptions, workspace: Path | None = None) -> Iterator[Source]:
    """Open a dataset of the hub by its id ("owner/name"), one subset and split of it.

    Raises StudioError: without a network, for an unknown id, a gated one, one that needs a program to be run.
    """
    hub_id = hub_id.strip().removeprefix("https://huggingface.co/").removeprefix("datasets/").strip("/")
    if not _ID.fullmatch(hub_id) or ".." in hub_id or "--" in hub_id:
        shown = "".join(c for c in hub_id[:80] if c.isprintable())
        raise StudioError(
            f"“{shown}” is no name of a dataset on the hub.", "Names look like this: owner/name."
        )
    with ExitStack() as opened:
        folder = make_workspace(opened, workspace)
        _keep_caches_in(folder)
        # The library takes a folder of that name here for the dataset: there is none in an empty folder.
        with _in_words(hub_id), chdir(folder):
            parsed = _parsed(hub_id, options)
        yield source_of(parsed, hub_id, options)


def _keep_caches_in(folder: Path) -> None:
    """Nothing is written outside the data folder; the libraries look at this when they are loaded."""
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_MODULES_CACHE", "HF_XET_CACHE", "HF_ASSETS_CACHE"):
        os.environ[name] = str(folder / name.lower())
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def _parsed(hub_id: str, options: ReadOptions) -> Parsed:
    from datasets import load_dataset, load_dataset_builder
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(hub_id, timeout=ANSWER_SECONDS)
    full = str(info.id)
    held = [sibling.rfilename for sibling in info.siblings or []]
    if "/" not in full or f"{full.split('/')[1]}.py" in held:
        raise _program(full)
    subset, subsets = _subset(full, options.subset)
    builder = load_dataset_builder(full, name=subset)
    split, splits = _split(full, subset, builder, options.split)
    told = (builder.info.splits or {}).get(split)
    rows = int(told.num_examples or 0) if told else 0
    if rows > MOST_ROWS:
        raise StudioError(
            f"{full} has {rows:,} rows; at most {MOST_ROWS:,} can be read.",
            "Choose a smaller split or subset.",
        )
    stream = load_dataset(full, name=subset, split=split, streaming=True).with_format("arrow")
    batches = _batches(stream, full)
    first = next(batches, None)
    if first is None:
        raise StudioError(f"{full} holds no rows in its split “{split}”.", "Choose another split.")
    columns = columns_of(first.schema, full)
    progress = Rows(rows, rows)
    why = None
    if options.subset is None and len(subsets) > 1:
        why = StudioError(f"{full} has {len(subsets)} subsets: {_listed(subsets)}.", "Choose one of them.")
    elif options.split is None and len(splits) > 1 and split not in _MEANT:
        why = StudioError(f"{full} has {len(splits)} splits: {_listed(splits)}.", "Choose one of them.")
    choices = {"subset": subsets if len(subsets) > 1 else [], "split": splits if len(splits) > 1 else []}
    return Parsed(
        "hub",
        items_of(chain([first], batches), columns, full, "Hugging Face", progress),
        columns,
        {"Format": "Hugging Face dataset", "Subset": subset, "Split": split},
        {name: names for name, names in choices.items() if names},
        why=why,
        progress=progress,
    )


def _subset(hub_id: str, wanted: str | None) -> tuple[str, list[str]]:
    from datasets import get_dataset_config_names

    subsets = [str(name) for name in get_dataset_config_names(hub_id)]
    if wanted is not None and wanted not in subsets:
        raise StudioError(f"{hub_id} has no subset “{wanted[:60]}”.", f"Choose one of {_listed(subsets)}.")
    return wanted or ("default" if "default" in subsets else subsets[0]), subsets


def _split(hub_id: str, subset: str, builder: Any, wanted: str | None) -> tuple[str, list[str]]:
    from datasets import get_dataset_split_names

    splits = list(builder.info.splits or ()) or [str(one) for one in get_dataset_split_names(hub_id, subset)]
    if wanted is not None and wanted not in splits:
        raise StudioError(f"{hub_id} has no split “{wanted[:60]}”.", f"Choose one of {_listed(splits)}.")
    return wanted or next((one for one in _MEANT if one in splits), splits[0]), splits


def _batches(stream: Any, hub_id: str) -> Iterator[Any]:
    """The rows as Arrow batches, with the network's errors as sentences."""
    tables = stream.iter(batch_size=_BATCH_ROWS)
    while True:
        with _in_words(hub_id):
            table = next(tables, None)
        if table is None:
            return
        yield from table.to_batches()


@contextmanager
def _in_words(hub_id: str) -> Iterator[None]:
    """Every refusal of the hub in its own sentence."""
    from datasets import exceptions
    from huggingface_hub import errors
    from pyarrow import ArrowException

    try:
        yield
    except errors.GatedRepoError as error:
        raise _gated(hub_id) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise _unknown(hub_id) from error
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise StudioError(
                f"The hub does not let this machine have {hub_id} ({code}).",
                "Run hf auth login on this machine with an account that may read it.",
            ) from error
        raise StudioError(f"The hub answered {code} when asked for {hub_id}.", "Try again later.") from error
    # HTTPError is the HTTP client's own; the library changed clients, but always knew it by this name.
    except (errors.HTTPError, ConnectionError, TimeoutError) as error:  # type: ignore[attr-defined]
        raise StudioError("The Hugging Face hub cannot be reached.", _OFFLINE) from error
    except (exceptions.DatasetsError, ArrowException, FileNotFoundError, ValueError, RuntimeError) as error:
        # The dataset library puts these three into exceptions of its own, which only their words tell apart.
        if "scripts are no longer supported" in str(error):
            raise _program(hub_id) from error
        if "gated dataset" in str(error):
            raise _gated(hub_id) from error
        if "doesn't exist on the Hub" in str(error):
            raise _unknown(hub_id) from error
        raise StudioError(
            f"The files of {hub_id} cannot be read as one table.",
            "Download the file that you need from the hub and add it here.",
        ) from error
    except OSError as error:
        if files.is_full_disk(error):
            raise
        raise StudioError("The Hugging Face hub cannot be reached.", _OFFLINE) from error


def _gated(hub_id: str) -> StudioError:
    return StudioError(
        f"{hub_id} asks you to accept its terms first.",
        f"Accept them at huggingface.co/datasets/{hub_id}, then give this machine your token: run hf auth login.",
    )


def _unknown(hub_id: str) -> StudioError:
    return StudioError(
        f"The hub has no dataset {hub_id}, or it is private.",
        "Check the spelling; for a private dataset run hf auth login on this machine.",
    )


def _program(hub_id: str) -> StudioError:
    return StudioError(
        f"{hub_id} comes as a program (a loading script) that would have to be run, and is not.",
        "Look on the hub for a version of it in Parquet, CSV or JSON.",
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"“{name[:40]}”" for name in names[:10])
    return shown + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
