"""Whether the fast path computes what the plain model computes, seen on the first examples of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from jobs.training.examples import Example
from jobs.training.lean import LeanEngine
from jobs.training.loss import completion_loss
from jobs.training.model import adapter_parameters
from jobs.training.packing import pack_of

# How far the two ways may be apart, relatively: the loss, the gradient's length and direction together.
ALLOWED = {torch.float32: (1e-4, 5e-3), torch.bfloat16: (2e-2, 0.25)}
# Enough to see an error, and soon computed.
CHECKED_TEXTS, CHECKED_TOKENS = 2, 96


def difference(engine: LeanEngine, peft: Any, examples: Sequence[Example]) -> str | None:
    """Compare the fast path with the plain model on the first texts; what is wrong in words, None if nothing.

    Each text is computed alone by the plain model, and all together by the fast path: leaks between the texts
    of a pack would show as well. The adapter is given values for it, because a fresh one has no effect.
    """
    texts = [_beginning(example) for example in examples[:CHECKED_TEXTS]]
    names = engine.weights.masters[0]
    before = {name: value.clone() for name, value in names.items()}
    chance = torch.Generator(device="cpu").manual_seed(0)
    for name, value in names.items():
        if ".lora_B." in name:
            value.copy_(0.05 * torch.randn(value.shape, generator=chance))
    engine.refresh()
    try:
        own_loss = engine.learn(pack_of(texts, range(len(texts)), engine.device), 1.0)[0]
        own = torch.cat([engine.weights.gradients[0][name].flatten() for name in names])
        loss, gradient = _plainly(peft, names, texts)
    finally:
        engine.weights.discard()
        for name, value in before.items():
            names[name].copy_(value)
        engine.refresh()
    loss_error = float((own_loss - loss).abs() / loss)
    gradient_error = float((own - gradient).norm() / gradient.norm())
    most_loss, most_gradient = ALLOWED[engine.model.embeddings.dtype]
    # Written so that a loss that is no number fails as well.
    if loss_error <= most_loss and gradient_error <= most_gradient:
        return None
    return f"it computes something else here (loss by {loss_error:.1%}, gradient by {gradient_error:.1%})"


def _beginning(example: Example) -> Example:
    """The example up to some tokens behind its first learned one, not from further back than is read soon."""
    first = int(example.learned[1:].argmax()) + 1
    kept = slice(max(0, first - CHECKED_TOKENS // 2), first + CHECKED_TOKENS // 2)
    return Example(example.row, example.token_ids[kept], example.learned[kept])


def _plainly(peft: Any, values: Mapping[str, Tensor], texts: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Summed loss and flat gradient by transformers and PEFT, with the adapter set to `values` for the moment."""
    parameters = adapter_parameters(peft)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    model = peft.get_base_model()
    for name, value in values.items():
        parameters[name].data.copy_(value)
    total = torch.zeros((), device=model.device)
    try:
        with torch.enable_grad():
            for number in range(len(texts)):
                pack = pack_of(texts, [number], model.device)
                hidden = model.base_model(input_ids=pack.token_ids[None], use_cache=False).last_hidden_state[
                    0
                ]
                answers = hidden[pack.predicts]
                loss, gradient = completion_loss(model, answers.detach(), pack.targets)
                answers.backward(gradient)
                total += loss
        flat = [parameters[name].grad.float().flatten() for name in values]  # type: ignore[union-attr]
        return total, torch.cat(flat)
    finally:
        for name, parameter in parameters.items():
            parameter.grad = None
            parameter.data.copy_(before[name])
