"""The best adapter so far, as a PEFT folder that is whole at every moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from storage import files

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


def save_adapter(folder: Path, config: Any, weights: dict[str, Tensor]) -> None:
    """Write or replace the adapter in `folder`; each file is replaced in one moment, the weights last.

    Args:
        folder: made if missing.
        config: the adapter's `LoraConfig`.
        weights: by parameter name as in the `PeftModel`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = {**config.to_dict(), "inference_mode": True}
    # PEFT keeps names in sets; sorted, the same adapter is the same file.
    described = {name: sorted(v) if isinstance(v, set) else v for name, v in described.items()}
    files.write_text(folder / CONFIG_FILE, json.dumps(described, indent=2, sort_keys=True))
    # A file names no adapter: the one in memory is called "default".
    named = {
        name.replace(".default.", "."): value.detach().cpu().contiguous() for name, value in weights.items()
    }
    files.write_bytes(folder / WEIGHTS_FILE, safetensors.torch.save(named, metadata={"format": "pt"}))
