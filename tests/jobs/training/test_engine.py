"""Each run gets the fastest engine that computes it rightly, and its page says which and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs.progress import Progress
from jobs.training.engine import Engine, engine_for
from jobs.training.examples import Example
from jobs.training.lean import LeanEngine
from jobs.training.model import adapted_model, adapter_names, adapter_parameters
from jobs.training.plain import PlainEngine
from jobs.training.settings import TrainingSettings, Trial, fitted
from storage.errors import StudioError
from tests.jobs import architectures
from tests.jobs.training.lean_cases import (
    SYSTEM,
    adapted,
    assert_all_near,
    assert_near,
    base_of,
    texts,
    truth,
)

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = "It is trained on the plain path, which is slower, because "


class Phases(Progress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def phase(self, words: str, done: int | None = None, total: int | None = None) -> None:
        self.said.append(words)


def settings_for(examples: Sequence[Example], **values: Any) -> TrainingSettings:
    settings = TrainingSettings(**{"precision": "fp32", "target_modules": ("q_proj", "v_proj"), **values})
    return fitted(settings, [len(example.token_ids) for example in examples], rank=4)


def made(model: Any, examples: Sequence[Example], *ranks: int, **values: Any) -> Engine:
    trials = [Trial(rank, 1e-3, 2 * rank) for rank in ranks or (4,)]
    return engine_for(model, settings_for(examples, **values), trials, examples, Phases())


def gradient_of(engine: Engine, examples: Sequence[Example]) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """(adapters,) losses of all examples, and each adapter's gradient."""
    engine.weights.discard()
    packs = list(engine.packs(examples, range(len(examples))))
    return torch.stack([engine.learn(pack, 1.0) for pack in packs]).sum(0), engine.weights.gradients


def assert_right(engine: Engine, model: Any, examples: Sequence[Example]) -> None:
    """Losses and gradients are those of transformers and PEFT, for every adapter."""
    losses, gradients = gradient_of(engine, examples)
    model.get_base_model().set_attn_implementation("sdpa")
    for number, name in enumerate(adapter_names(len(gradients))):
        for path, value in adapter_parameters(model, name).items():
            value.data.copy_(engine.weights.masters[number][path])
            value.requires_grad_(True)
        true_losses, true_gradient = truth(model, examples, name)
        assert_near(losses[number], true_losses.sum())
        assert_all_near(gradients[number], true_gradient, 2e-5)


def test_a_llama_takes_the_fast_path_and_says_so(tiny_model: Path, examples: list[Example]) -> None:
    model = adapted_model(tiny_model, "cpu", [4], settings_for(examples))
    progress = Phases()
    engine = engine_for(model, settings_for(examples), [Trial(4, 1e-3, 8)], examples, progress)
    assert isinstance(engine, LeanEngine) and progress.said == ["Preparing the fast path"]
    assert engine.words[0].startswith("It is trained on the fast path: ")
    assert "between its matrix products" in engine.words[1]
    assert engine.device.type == "cpu" and engine.pack_tokens >= 128
    # A fresh adapter changes nothing yet.
    for pack in engine.packs(examples, range(40)):
        assert torch.equal(engine.losses(pack), engine.losses(pack, base=True))
    assert not any(value.any() for name, value in engine.weights.masters[0].items() if ".lora_B." in name)
    assert not engine.weights.gradient.any()


@pytest.mark.parametrize("kind", ["llama", "qwen3", "phi3"])
def test_the_fast_path_starts_from_the_models_adapter_and_is_right(kind: str) -> None:
    model = adapted(base_of(kind))
    before = {name: value.clone() for name, value in adapter_parameters(model).items()}
    engine = made(model, texts(), target_modules="all-linear")
    assert isinstance(engine, LeanEngine)
    assert {name: value.shape for name, value in engine.weights.masters[0].items()} == {
        name: value.shape for name, value in before.items()
    }
    assert all(torch.equal(value, before[name]) for name, value in engine.weights.masters[0].items())
    assert_right(engine, model, texts())


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"use_dora": True}, "DoRA changes the length of every weight."),
        ({"dropout": 0.1}, "dropout is on."),
    ],
)
def test_what_the_fast_path_does_not_know_takes_the_plain_one_with_its_reason(
    tiny_model: Path, examples: list[Example], values: dict[str, Any], reason: str
) -> None:
    model = adapted_model(tiny_model, "cpu", [4], settings_for(examples, **values))
    engine = made(model, examples, **values)
    assert isinstance(engine, PlainEngine) and engine.words[0] == PLAIN + reason
    if "use_dora" in values:
        torch.manual_seed(1)
        engine.weights.master += 0.05 * torch.randn_like(engine.weights.master)
        engine.refresh()
        assert_right(engine, model, examples[:4])


@pytest.mark.parametrize("kind", ["gemma3_text", "gpt2"])
def test_unknown_kinds_take_the_plain_path_and_are_right(kind: str) -> None:
    dropout = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0} if kind == "gpt2" else {}
    torch.manual_seed(0)
    base = architectures.model_of(architectures.config_of(kind, **dropout), "cpu").requires_grad_(False)
    model = adapted(base)
    engine = made(model, texts())
    assert isinstance(engine, PlainEngine)
    assert engine.words[0] == f"{PLAIN}models of the kind {kind} are not known to the fast path."
    assert_right(engine, model, texts())


def test_texts_longer_than_a_window_take_the_plain_path() -> None:
    examples = texts()
    assert isinstance(made(adapted(base_of("mistral", sliding_window=30)), examples), LeanEngine)
    engine = made(adapted(base_of("mistral", sliding_window=29)), examples)
    assert isinstance(engine, PlainEngine) and "sees only 29 tokens back" in engine.words[0]


def test_a_fast_path_that_computes_something_else_is_not_taken_and_leaves_the_plain_one_right() -> None:
    # Scales that differ by layer are a thing that only the check can know.
    model = adapted(base_of(), {"alpha_pattern": {"layers.1.self_attn.q_proj": 64}})
    before = {name: value.clone() for name, value in adapter_parameters(model).items()}
    trials, progress = [Trial(4, 1e-3, 8)], Phases()
    engine = engine_for(model, settings_for(texts()), trials, texts(), progress)
    assert isinstance(engine, PlainEngine)
    assert engine.words[0].startswith(PLAIN + "it computes something else here (loss by ")
    assert progress.said == ["Preparing the fast path", "Preparing the model"]
    assert all(torch.equal(value, before[name]) for name, value in engine.weights.masters[0].items())
    assert not engine.weights.gradient.any()
    losses, gradients = gradient_of(engine, texts())
    # An untouched copy says what is right, since the fast path has taken this one's matrices.
    untouched = adapted(base_of(), {"alpha_pattern": {"layers.1.self_attn.q_proj": 64}})
    true_losses, true_gradient = truth(untouched, texts())
    assert_near(losses[0], true_losses.sum())
    assert_all_near(gradients[0], true_gradient)


def test_a_shared_prefix_is_read_once_and_said() -> None:
    examples = texts(SYSTEM)
    engine = made(adapted(base_of()), examples)
    assert (
        "Most examples begin with the same 8 tokens, which are read once for all of a pack." in engine.words
    )
    tokens = sum(len(pack.token_ids) for pack in engine.packs(examples, range(8)))
    assert tokens == sum(len(one.token_ids) for one in examples) - 7 * 8
    assert not any("begin with the same" in words for words in made(adapted(base_of()), texts()).words)


@pytest.mark.parametrize("is_plain", [False, True])
def test_several_trials_are_trained_side_by_side(is_plain: bool) -> None:
    # A kind that is unknown takes the plain path.
    base = base_of("llama", **({"hidden_act": "gelu"} if is_plain else {}))
    model = adapted(base, {"r": 2}, {"r": 8, "lora_alpha": 8})
    engine = made(model, texts(SYSTEM), 2, 8)
    assert isinstance(engine, PlainEngine if is_plain else LeanEngine)
    assert [next(iter(names.values())).shape[0] for names in engine.weights.masters] == [2, 8]
    if not is_plain:
        assert "2 adapters are trained side by side over one base model." in engine.words
        # Each would read a prefix for itself.
        assert not any("begin with the same" in words for words in engine.words)
        assert_right(engine, model, texts(SYSTEM))


def test_an_earlier_adapters_exact_values_are_what_a_run_goes_on_from(tmp_path: Path) -> None:
    earlier = adapted(base_of(), {"target_modules": ["q_proj"]})
    earlier.save_pretrained(tmp_path)
    exact = {name: value.clone() for name, value in adapter_parameters(earlier).items()}
    model = adapted(base_of(dtype=torch.bfloat16), {"target_modules": ["q_proj"]})
    engine = engine_for(
        model,
        replace(settings_for(texts()), precision="bf16"),
        [Trial(4, 1e-3, 8)],
        texts(),
        Progress(),
        warm_start=tmp_path,
    )
    assert isinstance(engine, LeanEngine)
    assert all(torch.equal(value, exact[name]) for name, value in engine.weights.masters[0].items())


def test_a_ratio_of_rates_reaches_the_optimiser() -> None:
    engines = [made(adapted(base_of()), texts(), lora_plus_ratio=ratio) for ratio in (1.0, 16.0)]
    changes = []
    for engine in engines:
        gradient_of(engine, texts())
        before = engine.weights.master.clone()
        engine.weights.step([1e-3])
        changes.append((engine.weights.master - before).norm())
    assert changes[1] > 5 * changes[0]


def test_adapters_side_by_side_share_the_tokens_that_fit_at_once() -> None:
    examples = texts()
    alone = made(adapted(base_of(), {"r": 4}), examples, 4, tokens_per_step=4000)
    together = made(
        adapted(base_of(), *({"r": rank} for rank in (2, 4, 8, 16))),
        examples,
        2,
        4,
        8,
        16,
        tokens_per_step=4000,
    )
    assert alone.pack_tokens > 2048 // 4 == together.pack_tokens


def test_a_fast_path_that_cannot_be_prepared_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples = adapted(base_of()), texts()
    broken = model.get_base_model().base_model.layers[0].self_attn.q_proj.base_layer
    monkeypatch.setattr(broken, "out_features", broken.out_features + 1)  # its matrix no longer fits in
    engine = made(model, examples)
    assert isinstance(engine, PlainEngine)
    assert "the fast path cannot be prepared here (RuntimeError)" in engine.words[0]


def test_four_bits_are_refused_where_only_the_plain_path_could_compute() -> None:
    model, examples = adapted(base_of(hidden_act="gelu")), texts()
    trials = [Trial(4, 1e-3, 8)]
    settings = settings_for(examples, precision="nf4")
    with pytest.raises(StudioError, match="cannot hold its base model in 4 bits, because its activation"):
        engine_for(model, settings, trials, examples, Phases(), device="meta")
