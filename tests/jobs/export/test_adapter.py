"""The zip that leaves the studio: plain `peft` loads it, and nothing of this machine is in it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs import adapter_record
from jobs.export.adapter import adapter_zip, packed_strength
from jobs.serving import client
from jobs.serving.schema import CompareSettings
from storage import adapters, config, evaluations, files
from storage.errors import StudioError
from tests.jobs.serving.parts import ADAPTERS, SYSTEM, add_adapter

TOKENS = 12


def unpacked(adapter_id: str, target: Path) -> Path:
    with zipfile.ZipFile(adapter_zip(adapter_id)) as archive:
        archive.extractall(target)
    return target


@pytest.fixture
def kept() -> Iterator[Callable[[float], object]]:
    """Keeps a strength with the first adapter until the test is over."""
    yield lambda strength: adapter_record.keep_strength(ADAPTERS[0], strength)
    adapter_record.keep_strength(ADAPTERS[0], 1.0)


@pytest.mark.parametrize("strength", [1.0, 0.35])
def test_plain_peft_gives_the_answer_of_the_adapted_side(base_model_id, tiny_model, tmp_path, kept, strength):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def ours_at(strength: float) -> str:
        settings = CompareSettings(sides=("adapted",), max_new_tokens=TOKENS, strength=strength)
        return client.compare_all(ADAPTERS[0], "Row 3?", settings)[0]["text"]

    kept(strength)
    ours = ours_at(strength)
    assert strength == 1 or ours != ours_at(1)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model), unpacked(ADAPTERS[0], tmp_path)
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Row 3?"}]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
    theirs = tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert ours and theirs == ours


@pytest.mark.parametrize("kind", [{}, {"use_rslora": True}, {"alpha_pattern": {"v_proj": 32}}])
def test_every_kind_is_packed_at_its_strength(base_model_id, tiny_model, tmp_path, kind):
    """PEFT's own scales are so many times those of the adapter as it was trained."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def scales(folder: Path) -> list[float]:
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder)
        return [module.scaling["default"] for module in model.modules() if hasattr(module, "lora_A")]

    kind_id = f"dpts{'-'.join(kind)}".replace("_", "")
    add_adapter(kind_id, base_model_id, tiny_model, 6)
    path = files.adapter_folder(kind_id) / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **kind}))
    adapter_record.keep_strength(kind_id, 0.75)
    assert packed_strength(adapters.get(kind_id)) == 0.75
    trained, packed = scales(path.parent), scales(unpacked(kind_id, tmp_path))
    assert trained and packed == pytest.approx([0.75 * scale for scale in trained])
    text = (tmp_path / "README.md").read_text()
    assert "It answers at the strength 0.75×, which was kept with it" in text
    assert json.loads((tmp_path / "adapter_config.json").read_text())["lora_alpha"] == 12


def test_a_dora_adapter_is_packed_as_trained_and_says_so(base_model_id, tiny_model, tmp_path):
    add_adapter("dpts7777", base_model_id, tiny_model, 7)
    path = files.adapter_folder("dpts7777") / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_dora": True}))
    adapter_record.keep_strength("dpts7777", 0.5)
    assert packed_strength(adapters.get("dpts7777")) == 1
    folder = unpacked("dpts7777", tmp_path)
    assert json.loads((folder / "adapter_config.json").read_text())["lora_alpha"] == 16
    assert "at the strength 0.5×, which is not in these files" in (folder / "README.md").read_text()


def test_the_script_in_the_zip_runs(base_model_id, tiny_model, tmp_path):
    script = unpacked(ADAPTERS[0], tmp_path) / "load_adapter.py"
    done = subprocess.run([sys.executable, script, tiny_model], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_same_adapter_gives_the_same_bytes(base_model_id):
    first, second = adapter_zip(ADAPTERS[0]), adapter_zip(ADAPTERS[0])
    assert first != second
    assert first.read_bytes() == second.read_bytes()
    assert b"strength" not in first.read_bytes(), "as it was trained, nothing has to be said"


def test_no_path_of_this_machine_leaves_it(base_model_id, tiny_model, tmp_path):
    folder = unpacked(ADAPTERS[0], tmp_path / "out")
    assert str(tiny_model) in (files.adapter_folder(ADAPTERS[0]) / "adapter_config.json").read_text()
    for path in folder.iterdir():
        content = path.read_bytes()
        assert str(tiny_model.parent).encode() not in content, path.name
        assert str(config.current().data_dir).encode() not in content, path.name


def test_an_adapter_of_the_starter_names_it_as_the_hub_does(base_model_id, tiny_model, tmp_path):
    add_adapter("dptr4444", "starter", tiny_model, 4)
    folder = unpacked("dptr4444", tmp_path)
    hub_id = "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == hub_id
    assert f'base_model: "{hub_id}"' in (folder / "README.md").read_text()
    assert hub_id in (folder / "load_adapter.py").read_text()


def test_the_card_says_where_the_adapter_came_from_and_how_it_did(base_model_id, tmp_path):
    score = {"passed": 3, "rows": 4, "rate": 0.75, "low": 0.3, "high": 0.95}
    card = {
        "verdict": {"code": "works", "sentence": "It works."},
        "sides": [{"side": "adapted", "label": "Numbers 1"}],
        "rules": [{"name": "valid_json", "words": "valid JSON", "sides": {"adapted": score}}],
    }
    evaluations.add(ADAPTERS[1], card)
    text = (unpacked(ADAPTERS[1], tmp_path) / "README.md").read_text()
    for fact in ("“Numbers”, 12 rows", "| seed | 1 |", "| rank | 4 |", "It works.", "75% (30% to 95%)"):
        assert fact in text
    import yaml

    assert yaml.safe_load(text.split("---")[1])["library_name"] == "peft"


def card_of(adapter_id: str, config: dict[str, object], settings: dict[str, object]) -> str:
    """The card of an adapter that is as its config says, whatever its settings asked for."""
    from jobs.base_models import catalogue
    from jobs.export.card import model_card

    adapter = dataclasses.replace(adapters.get(adapter_id), settings=settings)
    plain = {"r": 4, "lora_alpha": 16, "rank_pattern": {}, "alpha_pattern": {}}
    return model_card(adapter, catalogue.find(adapter.base_model_id), {**plain, **config})


def test_the_card_says_what_kind_of_adapter_it_is(base_model_id):
    text = card_of(ADAPTERS[0], {}, {})
    assert "A LoRA adapter for" in text and "scaled by alpha / rank." in text
    assert "| use_dora | false |" in text and "goes on" not in text and "The best" not in text
    # Of what went on from an earlier adapter, the settings say less than the config.
    config = {"use_dora": True, "use_rslora": True, "rank_pattern": {"q_proj": 2}}
    text = card_of(ADAPTERS[0], config, {"alpha": None, "use_dora": False, "rank_pattern": {}})
    assert "A DoRA adapter for" in text and "alpha / √rank (rsLoRA)" in text
    assert "Not everywhere: `q_proj` has rank 2 and alpha 16." in text
    for line in ("| alpha | 16.0 |", "| use_dora | true |", "| use_rslora | true |", '{"q_proj": 2} |'):
        assert line in text
    text = card_of(ADAPTERS[0], {"rank_pattern": {"q": 2}, "alpha_pattern": {"q": 4, "v": 8}}, {})
    assert "`q` has rank 2 and alpha 4; `v` has rank 4 and alpha 8." in text


def test_the_card_names_the_adapter_it_goes_on_from_and_the_ranks_tried(base_model_id):
    text = card_of(ADAPTERS[0], {}, {"start_from": ADAPTERS[1]})
    earlier = adapters.get(ADAPTERS[1])
    assert f"goes on from the adapter “{earlier.name}”" in text and earlier.weights_sha256 in text
    assert "has been deleted since" in card_of(ADAPTERS[0], {}, {"start_from": "lost"})
    text = card_of(ADAPTERS[0], {}, {"try_ranks": [2, 4], "try_learning_rates": [1e-4, 5e-4]})
    assert "several adapters: ranks 2, 4, learning rates 0.0001, 0.0005." in text


def test_an_adapter_without_its_weights_is_named(base_model_id, tiny_model):
    add_adapter("dptr5555", base_model_id, tiny_model, 5)
    (files.adapter_folder("dptr5555") / "adapter_model.safetensors").unlink()
    with pytest.raises(StudioError, match=r"“Numbers 5” has lost its file adapter_model.safetensors"):
        adapter_zip("dptr5555")
