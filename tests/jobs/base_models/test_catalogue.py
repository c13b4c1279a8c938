"""The catalogue is true, and what a user adds is checked, remembered and ready."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig

from jobs.base_models import catalogue, weights
from storage import files
from storage.errors import StudioError
from tests.jobs.architectures import model_of

LISTED = catalogue._listed()


@pytest.mark.parametrize("model", LISTED, ids=lambda model: model.id)
def test_parameters_of_a_listed_model_are_those_of_the_real_model(model: catalogue.BaseModel) -> None:
    shape = model.shape
    assert shape is not None
    config = AutoConfig.for_model(
        shape.architecture,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocab_size,
        tie_word_embeddings=shape.tied,
        pad_token_id=0,
    )
    assert model.parameters == model_of(config).num_parameters()


def test_listed_models_are_complete_and_the_starter_comes_first(home: Path) -> None:
    models = catalogue.all_models()
    assert len({model.id for model in models}) == len(models) >= 20
    assert models[0].id == catalogue.STARTER_ID
    assert models[0].kind == "starter"
    assert all(model.licence and model.family and not model.available for model in models)


def test_page_process_reads_the_catalogue_without_torch() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'huggingface_hub', 'gguf'} & set(sys.modules)"
    command = f"import sys; from jobs.base_models import catalogue; print({heavy})"
    assert subprocess.check_output([sys.executable, "-c", command], text=True).strip() == "set()"


def test_folder_is_linked_and_ready_at_once(home: Path, tiny_model: Path) -> None:
    added = catalogue.add_custom(str(tiny_model))
    assert added.available
    assert added.kind == "folder"
    assert added.parameters == weights.parameters(tiny_model)
    assert added.folder is not None
    assert (added.folder / "model.safetensors").resolve() == (tiny_model / "model.safetensors").resolve()
    assert not (tiny_model / weights.ORIGIN_FILE).exists()
    assert catalogue.find(added.id) == added
    assert catalogue.add_custom(f" {tiny_model}/ ") == added
    assert [model.id for model in catalogue.all_models()].count(added.id) == 1


def test_folders_of_the_same_name_stay_apart(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    places = [tmp_path / "one" / "model", tmp_path / "two" / "model"]
    for place in places:
        shutil.copytree(tiny_model, place)
    assert len({catalogue.add_custom(str(place)).id for place in places}) == 2


def test_folder_that_has_gone_is_not_available(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    added = catalogue.add_custom(str(tmp_path / "model"))
    shutil.rmtree(tmp_path / "model")
    assert not catalogue.find(added.id).available


def test_folder_whose_weights_were_renamed_is_linked_anew(
    home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    added = catalogue.add_custom(str(folder))
    (folder / "model.safetensors").rename(folder / "renamed.safetensors")
    assert not catalogue.find(added.id).available
    assert catalogue.add_custom(str(folder)).available


def test_hub_name_is_registered_and_known_again(home: Path) -> None:
    added = catalogue.add_custom("https://huggingface.co/someone/some-model")
    assert (added.id, added.kind, added.shape, added.available) == ("someone/some-model", "hub", None, False)
    assert catalogue.find("someone/some-model") == added
    assert catalogue.add_custom("Qwen/Qwen3-0.6B").licence == "Apache-2.0"
    assert catalogue.add_custom("HuggingFaceTB/SmolLM2-135M-Instruct").id == catalogue.STARTER_ID


@pytest.mark.parametrize(
    "text", ["", "no-slash", "/no/such/folder", "a/b/c", "../escape", "missing/model.gguf", "a b/c"]
)
def test_text_that_names_no_model_is_refused(home: Path, text: str) -> None:
    with pytest.raises(StudioError, match="neither a hub name"):
        catalogue.add_custom(text)
    assert not list(files.models_root().iterdir())


def test_unsafe_folder_is_refused_and_not_remembered(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "code.Model"}}))
    with pytest.raises(StudioError, match="auto_map"):
        catalogue.add_custom(str(folder))
    assert not list(files.models_root().iterdir())


def test_unknown_id_is_a_sentence(home: Path) -> None:
    with pytest.raises(StudioError, match="no base model “nothing”"):
        catalogue.find("nothing")
