"""The loss of the answers alone: the output layer runs only where a token is learned, a chunk at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from storage.errors import StudioError

# Logits of one chunk take at most this many values (256 MB in fp32), whatever the vocabulary's size.
CHUNK_VALUES = 1 << 26


def output_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Logits (tokens, vocabulary) in fp32 of hidden states (tokens, hidden), as the model computes them.

    Covers tied and own heads, the scaling of Cohere and Granite, and Gemma 2's soft-capping
    (arXiv 2408.00118, section 2).
    """
    config = model.config.get_text_config()
    logits: Tensor = model.get_output_embeddings()(hidden).float()
    logits = logits * (getattr(config, "logit_scale", None) or 1.0)
    logits = logits / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def completion_loss(
    model: PreTrainedModel, hidden: Tensor, targets: Tensor, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Summed cross entropy, and its gradient at `hidden`.

    Each chunk's gradient is taken at once, so that no more than one chunk of logits is ever in memory.

    Args:
        model: whose output layer is frozen.
        hidden: (supervised, hidden), detached.
        targets: (supervised,) token ids.
        weights: (supervised,) fp32, what each counts; None: 1.
    """
    weights = torch.ones(len(targets), device=hidden.device) if weights is None else weights
    chunk = max(1, CHUNK_VALUES // model.config.get_text_config().vocab_size)
    total = torch.zeros((), device=hidden.device)
    gradient = torch.empty_like(hidden)
    for start in range(0, len(hidden), chunk):
        rows = slice(start, start + chunk)
        part = hidden[rows].detach().requires_grad_(torch.is_grad_enabled())
        losses = cross_entropy(output_logits(model, part), targets[rows], reduction="none")
        loss = (losses * weights[rows]).sum()
        if torch.is_grad_enabled():
            (gradient[rows],) = torch.autograd.grad(loss, part)
        total += loss.detach()
    return total, gradient


@torch.no_grad()
def check_output_layer(model: PreTrainedModel) -> None:
    """Make sure that `output_logits` computes what the model computes.

    Raises:
        StudioError: it does not, so that training would learn from wrong numbers.
    """
    token_ids = torch.arange(4, device=model.device)[None]
    theirs = model(input_ids=token_ids, use_cache=False).logits[0].float()
    hidden = model.base_model(input_ids=token_ids, use_cache=False).last_hidden_state[0]
    if not torch.allclose(output_logits(model, hidden), theirs, rtol=0.02, atol=0.02):
        raise StudioError(
            f"Models of the kind {model.config.model_type} compute their output in a way not known here.",
            "Choose another base model.",
        )
