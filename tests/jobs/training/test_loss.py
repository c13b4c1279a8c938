"""The chunked loss is the model's own loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from jobs.training import loss
from storage.errors import StudioError

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 1,
    "initializer_range": 0.3,
}

MODELS = {
    "tied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "own head": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)),
    "soft-capped": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=2.0)),
    "divided": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=4.0)),
    "multiplied": lambda: CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.25)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_loss_and_gradient_equal_the_models_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK_VALUES", 300 * 3)
    torch.manual_seed(0)
    model = MODELS[kind]().eval().requires_grad_(False)
    loss.check_output_layer(model)
    token_ids = torch.randint(2, 300, (1, 11))
    hidden = model.base_model(input_ids=token_ids).last_hidden_state[0].requires_grad_()
    targets = torch.randint(2, 300, (11,))
    theirs = cross_entropy(model(input_ids=token_ids).logits[0], targets, reduction="sum")
    reference = cross_entropy(loss.output_logits(model, hidden), targets, reduction="sum")
    (gradient,) = torch.autograd.grad(reference, hidden)
    ours, our_gradient = loss.completion_loss(model, hidden.detach(), targets)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(our_gradient, gradient, rtol=1e-5, atol=1e-6)


def test_an_unknown_output_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = MODELS["divided"]()
    model.config.logits_scaling, kept = 1.0, model.config.logits_scaling
    real = loss.output_logits
    monkeypatch.setattr(loss, "output_logits", lambda model, hidden: real(model, hidden) / kept)
    with pytest.raises(StudioError, match="granite"):
        loss.check_output_layer(model)
