"""A finished adapter as a zip that plain `peft` loads, with a card that says where it came from."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.base_models import catalogue
from jobs.base_models.catalogue import BaseModel
from jobs.export.card import model_card
from jobs.serving.sides import shared_system
from storage import adapters, files
from storage.adapters import Adapter
from storage.errors import StudioError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

LOAD_SCRIPT = '''\
"""Ask the base model with this adapter on top. First: pip install transformers peft"""
import sys
from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE = sys.argv[1] if len(sys.argv) > 1 else {base}
tokenizer = AutoTokenizer.from_pretrained(BASE)
base = AutoModelForCausalLM.from_pretrained(BASE, dtype="auto")
model = PeftModel.from_pretrained(base, Path(__file__).resolve().parent)
messages = {messages}
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**prompt, max_new_tokens=256, do_sample=False)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
'''


def adapter_zip(adapter_id: str) -> Path:
    """Pack an adapter for use elsewhere, at the strength kept with it.

    The same adapter, strength and scores give the same bytes.

    Raises: StudioError when the adapter or its files are gone.
    """
    adapter = adapters.get(adapter_id)
    folder = files.adapter_folder(adapter_id)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).exists():
            raise StudioError(
                f"The adapter “{adapter.name}” has lost its file {name}.",
                "Train it again.",
            )
    base = catalogue.find(adapter.base_model_id)
    config = _config(folder, base, adapter.strength)
    packed = files.temporary_folder() / f"{files.slug(adapter.name)}-{adapter.id}.zip"
    with files.full_disk_as_error(adapter.size_bytes), zipfile.ZipFile(packed, "w") as archive:
        _add(archive, CONFIG_FILE, _json(config))
        _add(archive, "README.md", model_card(adapter, base, config).encode())
        _add(archive, "load_adapter.py", _load_script(adapter, base).encode())
        with (folder / WEIGHTS_FILE).open("rb") as weights, archive.open(_entry(WEIGHTS_FILE), "w") as target:
            shutil.copyfileobj(weights, target, 1024 * 1024)
    return packed


def packed_strength(adapter: Adapter) -> float:
    """How strongly the packed adapter answers where it is loaded: as is kept with it, but for DoRA's.

    Raises: StudioError or OSError when its files are gone.
    """
    if adapter.strength == 1:
        return 1.0
    return _strength_of(files.read_json(files.adapter_folder(adapter.id) / CONFIG_FILE), adapter.strength)


def _strength_of(config: Mapping[str, Any], kept: float) -> float:
    # DoRA's learned lengths are whole lengths of rows: weaker ones would need those of the base model.
    return 1.0 if config.get("use_dora") else kept


def _config(folder: Path, base: BaseModel, strength: float) -> dict[str, Any]:
    """The adapter's own settings, its change scaled to the strength.

    PEFT computes W + scale · B A, the scale being alpha / rank or alpha / √rank: so many times alpha is exactly so
    many times the change, in any program that reads the folder.
    """
    settings: dict[str, Any] = files.read_json(folder / CONFIG_FILE)
    settings = {**settings, "base_model_name_or_path": base.public_name, "revision": None}
    strength = _strength_of(settings, strength)
    if strength != 1:
        patterns = settings.get("alpha_pattern") or {}
        settings["lora_alpha"] = _times(settings["lora_alpha"], strength)
        settings["alpha_pattern"] = {name: _times(alpha, strength) for name, alpha in patterns.items()}
    return settings


def _times(alpha: float, strength: float) -> float:
    """Alpha at a strength; a whole number as such, which is all that some programs read."""
    scaled = alpha * strength
    return int(scaled) if scaled == int(scaled) else scaled


def _load_script(adapter: Adapter, base: BaseModel) -> str:
    system = shared_system(adapter.dataset_id)
    messages = [{"role": "user", "content": "Hello!"}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return LOAD_SCRIPT.format(base=repr(base.public_name), messages=repr(messages))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    with archive.open(_entry(name), "w") as target:
        target.write(content)


def _entry(name: str) -> zipfile.ZipInfo:
    """A file of the archive without this moment's time in it; weights do not compress, so nothing is."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    return entry
