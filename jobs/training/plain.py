"""The plain path: transformers and PEFT compute, packs where the model can take them; for every architecture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from jobs.training.attention import PACKED
from jobs.training.examples import Example
from jobs.training.loss import completion_loss
from jobs.training.model import adapter_names, adapter_parameters
from jobs.training.optimizer import AdapterWeights
from jobs.training.packing import Layout, Pack, pack_of, packs_of

# Beyond this a processor gains nothing from larger packs.
CPU_TOKENS = 2048
# What activations may take of the GPU memory that is free once the weights are there; the rest is for the
# logits of a chunk, the optimiser and the allocator's gaps.
SHARE_FOR_ACTIVATIONS = 0.6
# Below this many tokens at once a GPU idles: recomputing activations costs less.
FEWEST_TOKENS = 1024
# In fp16 a pack is computed again with gradients this many times smaller when they overflow, at most so often.
SCALE_STEP, SCALE_TRIES = 16.0, 6
# Hidden states of a text in a pack may differ so much, relatively, from those of the text alone.
ALLOWED = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 6e-2}
CHECKED_TOKENS = (12, 7)
# How configs call the most tokens that a token sees.
WINDOWS = ("sliding_window", "attention_chunk_size")


class PlainEngine:
    """Losses and adapter gradients of packs; see `jobs.training.engine.Engine`.

    Knows any architecture, DoRA, dropout and quantised base weights. Several adapters are computed one after
    the other.
    """

    def __init__(
        self,
        peft: Any,
        weights: AdapterWeights,
        longest: int,
        pack_tokens: int | None = None,
        prefix: Sequence[int] = (),
    ) -> None:
        """Train `weights` in `peft`, whose adapters are called `adapter_names(…)`.

        Args:
            longest: the most tokens of an example.
            pack_tokens: how many tokens to compute at once; None: what the free memory allows, with activation
                checkpointing where it is short.
            prefix: tokens that are read once for all examples of a pack that begin with them.
        """
        self.peft, self.weights, self.longest = peft, weights, longest
        self.model: PreTrainedModel = peft.get_base_model()
        self.device: torch.device = self.model.device
        self.words: list[str] = []
        self._gradient_scale = 1.0
        self._names = adapter_names(len(weights.masters))
        self.refresh()
        self._ensure_finite()
        reason = check_packing(self.model, longest)
        self._in_packs = reason is None
        if reason is not None:
            self.words.append(
                f"Models of the kind {self.model.config.model_type} cannot read several texts in one row"
                f" ({reason}), so only texts of equal length are computed together."
            )
        # With dropout the copies of a shared prefix would differ.
        self._prefix = list(prefix) if self._in_packs and not _drops(self.model) else []
        tokens, checkpoint = (pack_tokens, False) if pack_tokens else fitting_tokens(self.model, longest)
        self.pack_tokens = max(tokens, longest)
        self._checkpoints = False
        if checkpoint and self._start_checkpointing():
            self.words.append(
                "Memory is short: layers are computed a second time for the gradients instead of being kept."
            )

    def packs(self, examples: Sequence[Example], rows: Sequence[int]) -> Iterator[Pack]:
        """`rows` in packs of at most `pack_tokens` tokens."""
        for group, prefix in packs_of(examples, rows, self.pack_tokens, self._prefix):
            yield pack_of(examples, group, self.device, prefix)

    def learn(self, pack: Pack, share: float) -> Tensor:
        """(adapters,) summed losses; `share` times their gradient is added to the weights'."""
        self.model.train()
        losses = []
        for name, gradients in zip(self._names, self.weights.gradients, strict=True):
            self.peft.set_adapter(name)
            parameters = adapter_parameters(self.peft, name)
            scaled = self._scaled_gradients if self.model.dtype == torch.float16 else self._gradients
            loss, scale = scaled(pack, list(parameters.values()))
            for path, parameter in parameters.items():
                if parameter.grad is not None:
                    gradients[path].add_(parameter.grad, alpha=share / scale)
                    parameter.grad = None
            losses.append(loss)
        return torch.stack(losses)

    @torch.no_grad()
    def losses(self, pack: Pack, base: bool = False) -> Tensor:
        """(adapters,) summed losses; with `base`, of the base model without adapters."""
        self.model.eval()
        losses = []
        for name in self._names[:1] if base else self._names:
            self.peft.set_adapter(name)
            with self.peft.disable_adapter() if base else nullcontext():
                answers = self._hidden(pack).index_select(0, pack.predicts)
                losses.append(completion_loss(self.model, answers, pack.targets, pack.weights)[0])
        return torch.stack(losses).expand(len(self._names))

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the masters into the parameters that compute."""
        for name, masters in zip(self._names, self.weights.masters, strict=True):
            parameters = adapter_parameters(self.peft, name)
            torch._foreach_copy_(list(parameters.values()), [masters[path] for path in parameters])

    def halve(self) -> str | None:
        """Take less memory: compute layers twice, then fewer tokens at once; the sentence for the user."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._start_checkpointing():
            return (
                "Memory ran out: from here on layers are computed a second time for the gradients instead of"
                " being kept."
            )
        if self.pack_tokens <= self.longest:
            return None
        self.pack_tokens = max(self.longest, self.pack_tokens // 2)
        return f"Memory ran out: from here on at most {self.pack_tokens:,} tokens are computed at once."

    def _gradients(
        self, pack: Pack, parameters: Sequence[Tensor], scale: float = 1.0
    ) -> tuple[Tensor, float]:
        """The loss; `scale` times its gradient is left in the parameters."""
        answers = self._hidden(pack).index_select(0, pack.predicts)
        loss, gradient = completion_loss(self.model, answers.detach(), pack.targets, pack.weights)
        torch.autograd.backward(answers, gradient * scale)
        return loss, scale

    def _scaled_gradients(self, pack: Pack, parameters: Sequence[Tensor]) -> tuple[Tensor, float]:
        """The same in fp16: computed again with a smaller scale as long as a gradient overflows.

        What still overflows in the end is left as it is, so that the step counts as broken.
        """
        for tries_left in reversed(range(SCALE_TRIES)):
            loss, scale = self._gradients(pack, parameters, self._gradient_scale)
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            is_finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
            if is_finite or not loss.isfinite() or not tries_left:
                break
            self._gradient_scale /= SCALE_STEP
            for parameter in parameters:
                parameter.grad = None
        return loss, scale

    def _hidden(self, pack: Pack) -> Tensor:
        """(tokens, hidden), the last hidden states."""
        if self._in_packs:
            return hidden_of_pack(self.model, pack.token_ids, pack.positions, pack.layout)
        groups = [
            pack.token_ids[group.start : group.start + group.texts * group.length].view(group.texts, -1)
            for group in pack.layout.groups
        ]
        return torch.cat([hidden_alone(self.model, token_ids).flatten(0, 1) for token_ids in groups])

    def _start_checkpointing(self) -> bool:
        """Compute layers twice from now on; False where that is done already, or unknown to the model."""
        if self._checkpoints or not self.model.supports_gradient_checkpointing:
            return False
        self._checkpoints = True
        self.model.gradient_checkpointing_enable({"use_reentrant": False})
        return True

    def _ensure_finite(self) -> None:
        """Say what fp16 means, and leave it for fp32 where the model's values are too large for it."""
        if self.model.dtype != torch.float16:
            return
        ids = _texts(self.model)[0].to(self.device)
        with torch.no_grad():
            is_finite = bool(hidden_alone(self.model.eval(), ids[None]).isfinite().all())
        if is_finite or getattr(self.model, "is_quantized", False):
            self.words.append("This GPU does not compute in bf16: fp16 with scaled gradients is used.")
        else:
            self.peft.float()
            self.words.append("This GPU does not compute in bf16, and the model exceeds fp16: fp32 is used.")


def check_packing(model: PreTrainedModel, longest: int) -> str | None:
    """Let the model read packs from now on; or, where that changes its results, in words why not.

    Two texts are computed in one pack and each alone with the model's own attention. Where a token sees only
    a window shorter than `longest`, the first text is longer than that.
    """
    own_attention = model.config._attn_implementation
    texts = _texts(model, longest)
    is_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            alone = torch.cat([hidden_alone(model, text[None])[0] for text in texts])
            packed = _packed(model, texts)
            # Some attention drops connections, but only while the model learns.
            with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
                _packed(model.train(), texts)
    except ValueError as error:
        model.set_attn_implementation(own_attention)
        return str(error)
    finally:
        model.train(is_training)
    error_share = float((packed.float() - alone.float()).norm() / alone.float().norm())
    # Written so that an error that is no number fails as well.
    if error_share <= ALLOWED[alone.dtype]:
        return None
    model.set_attn_implementation(own_attention)
    return f"their results would change by {error_share:.1%}"


def _packed(model: PreTrainedModel, texts: Sequence[Tensor]) -> Tensor:
    """(tokens, hidden) of the texts in one pack.

    Raises:
        ValueError: the model cannot read packs.
    """
    model.set_attn_implementation(PACKED)
    if model.config.get_text_config()._attn_implementation != PACKED:
        raise ValueError("their attention is a code of its own")
    rows = [Example(i, text.numpy(force=True), np.ones(len(text), bool)) for i, text in enumerate(texts)]
    pack = pack_of(rows, range(len(rows)), model.device)
    try:
        return hidden_of_pack(model, pack.token_ids, pack.positions, pack.layout)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError) as error:
        # Whatever code a model brings along fails in its own way at what it was not written for.
        raise ValueError(str(error).splitlines()[0]) from error


def hidden_of_pack(model: PreTrainedModel, token_ids: Tensor, positions: Tensor, layout: Layout) -> Tensor:
    """(tokens, hidden), the last hidden states of a model that reads packs."""
    output = model.base_model(
        input_ids=token_ids[None], position_ids=positions[None], layout=layout, use_cache=False
    )
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def hidden_alone(model: PreTrainedModel, token_ids: Tensor) -> Tensor:
    """(texts, tokens, hidden), the last hidden states of texts of equal length, in a batch."""
    hidden: Tensor = model.base_model(input_ids=token_ids, use_cache=False).last_hidden_state
    return hidden


def fitting_tokens(model: PreTrainedModel, longest: int) -> tuple[int, bool]:
    """How many tokens may be computed at once, and whether only with activation checkpointing.

    Activations of a decoder layer take about 12 hidden + 4 intermediate sizes for each token, and with
    checkpointing 2 hidden sizes (measured on 0.1 B and 8 B Llama shapes).
    """
    if model.device.type != "cuda":
        return max(CPU_TOKENS, longest), False
    config = model.config.get_text_config()
    value_bytes = torch.finfo(model.dtype).bits // 8
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    layer_bytes = (12 * config.hidden_size + 4 * inner) * value_bytes
    free = SHARE_FOR_ACTIVATIONS * torch.cuda.mem_get_info(model.device)[0]
    tokens = int(free / (layer_bytes * config.num_hidden_layers))
    if tokens >= max(FEWEST_TOKENS, longest):
        return tokens, False
    kept_bytes = 2 * config.hidden_size * value_bytes
    return max(int(free / (layer_bytes + kept_bytes * config.num_hidden_layers)), longest), True


def _drops(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())


def _texts(model: PreTrainedModel, longest: int = 0) -> list[Tensor]:
    """Two short texts, the first longer than the model's window if that is shorter than `longest`."""
    config = model.config.get_text_config()
    windows = [getattr(config, name, None) or longest for name in WINDOWS]
    beyond = [window + CHECKED_TOKENS[0] for window in windows if window < longest]
    chance = torch.Generator().manual_seed(0)
    counts = (max([CHECKED_TOKENS[0], *beyond]), CHECKED_TOKENS[1])
    return [torch.randint(config.vocab_size, (n,), generator=chance).to(model.device) for n in counts]
