"""What computes a run's losses and gradients: the fast path where it is known to be right, else the plain one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch
from torch import Tensor

from jobs.base_models import shapes
from jobs.lora import memory
from jobs.progress import Progress
from jobs.training import kernels
from jobs.training.attention import reads_borders_on_device
from jobs.training.examples import Example, token_lengths
from jobs.training.lean import LeanEngine
from jobs.training.lean_model import ordered, scales_of, take_apart, unsupported
from jobs.training.model import adapter_names, initial_values
from jobs.training.optimizer import AdapterWeights
from jobs.training.packing import (
    LEAST_SHARE_SAVED,
    LEAST_SHARE_SAVED_GPU,
    Pack,
    plan_run,
    shared_prefix,
)
from jobs.training.plain import PlainEngine
from jobs.training.self_check import difference
from jobs.training.settings import TrainingSettings, Trial
from storage.errors import StudioError

# Recording a step takes about as long as ten steps without it.
LEAST_RECORDED = 10


class Engine(Protocol):
    """Losses and gradients of packs.

    Attributes:
        weights: the adapters' exact weights and collected gradients.
        pack_tokens: about how many tokens are computed at once.
        words: how this run computes, in sentences for its user.
        device: where it computes.
    """

    weights: AdapterWeights
    pack_tokens: int
    words: list[str]
    device: torch.device

    def packs(self, examples: Sequence[Example], rows: Sequence[int]) -> Iterator[Pack]:
        """The examples of `rows`, cut and laid out as this engine likes them."""
        ...

    def learn(self, pack: Pack, share: float) -> Tensor:
        """(adapters,) fp32, summed losses; `share` times their gradient is added to `weights.gradient`."""
        ...

    def losses(self, pack: Pack, base: bool = False) -> Tensor:
        """(adapters,) fp32, summed losses; with `base`, those of the model without adapters."""
        ...

    def refresh(self) -> None:
        """Let what computes follow the masters."""
        ...

    def halve(self) -> str | None:
        """Compute less at once from now on; the sentence for the user, or None where that is impossible."""
        ...


def engine_for(
    model: Any,
    settings: TrainingSettings,
    trials: Sequence[Trial],
    examples: Sequence[Example],
    progress: Progress,
    *,
    device: str | torch.device | None = None,
    warm_start: Path | None = None,
) -> Engine:
    """The fastest engine that computes this run rightly.

    Args:
        model: a `PeftModel` with an adapter for each of `trials`; where the fast path takes it, its base model's
            weights move over to the engine.
        settings: fitted.
        device: where to compute; None: where the model is.
        warm_start: the folder of the adapter that `model` began with.

    Raises:
        StudioError: the run fits into no memory.
    """
    device = torch.device(device or model.device)
    base, names = model.get_base_model(), adapter_names(len(trials))
    initial = [initial_values(model, name, warm_start) for name in names]
    initial = [{name: value.to(device) for name, value in one.items()} for one in initial]
    longest = max(token_lengths(examples))
    reason = _needs_plain(model.peft_config[names[0]]) or unsupported(base, initial, longest)
    if reason is None:
        progress.phase("Preparing the fast path")
        plan = _plan(settings, examples)
        policy = _policy(base, settings, initial, device, longest, plan, examples)
        try:
            lean = _lean(
                model, settings, [ordered(one) for one in initial], device, policy, longest, examples
            )
            reason = difference(lean, model, examples)
        except torch.OutOfMemoryError as error:
            raise StudioError(
                "The GPU has too little memory even to prepare this run.",
                "Close other programs that use the GPU, or choose a smaller base model.",
            ) from error
        except (RuntimeError, ImportError, OSError) as error:  # no compiler for Triton, an unknown GPU, …
            progress.log(f"The fast path cannot be prepared: {error!r}")
            reason = f"the fast path cannot be prepared here ({type(error).__name__})"
        else:
            if reason is None:
                _record(lean, examples, plan)
                return lean
    if settings.precision == "nf4" and not getattr(base, "is_quantized", False) and base.device != device:
        raise StudioError(
            f"This run cannot hold its base model in 4 bits, because {reason}.",
            'Set precision to "auto", or choose a smaller base model.',
        )
    progress.phase("Preparing the model")
    weights = AdapterWeights(initial, settings.lora_plus_ratio)
    model.to(device)
    plain = PlainEngine(model, weights, longest, prefix=_prefix(examples, device))
    plain.words.insert(0, f"It is trained on the plain path, which is slower, because {reason}.")
    return plain


def _needs_plain(config: Any) -> str | None:
    """Why an adapter of this `LoraConfig` cannot take the fast path."""
    if config.use_dora:
        return "DoRA changes the length of every weight"
    if config.lora_dropout:
        return "dropout is on"
    return None


def _prefix(examples: Sequence[Example], device: torch.device) -> list[int]:
    return shared_prefix(examples, LEAST_SHARE_SAVED_GPU if device.type == "cuda" else LEAST_SHARE_SAVED)


def _plan(settings: TrainingSettings, examples: Sequence[Example]) -> list[list[int]]:
    lengths = token_lengths(examples)
    return plan_run(
        lengths,
        settings.epochs or 1.0,
        settings.tokens_per_step or sum(lengths),
        settings.max_steps,
        settings.seed,
    )


def _policy(
    base: Any,
    settings: TrainingSettings,
    adapters: Sequence[dict[str, Tensor]],
    device: torch.device,
    longest: int,
    plan: Sequence[Sequence[int]],
    examples: Sequence[Example],
) -> memory.Policy:
    """How the fast path computes, by the memory that is there."""
    precision = "fp32" if base.dtype == torch.float32 else "bf16"
    shape = shapes.from_config(base.config.to_dict())
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    else:
        free = psutil.virtual_memory().available + base.get_memory_footprint()
    count = len(adapters)
    lengths = token_lengths(examples)
    tokens = [sum(lengths[row] for row in rows) for rows in plan]
    layers = {int(name.partition(".layers.")[2].partition(".")[0]) for name in adapters[0]}
    return memory.choose_policy(
        shape,
        base.num_parameters(),
        sum(value.numel() for one in adapters for value in one.values()),
        memory_bytes=free,
        longest_example=longest * count,
        device=device.type,
        precision="nf4" if settings.precision == "nf4" else precision,
        ranks=_input_ranks(adapters),
        layers=shape.layers - min(layers),
        step_tokens=max(max(tokens), longest) * count,
        may_use_nf4=device.type == "cuda" and settings.precision == "auto",
    )


def _input_ranks(adapters: Sequence[dict[str, Tensor]]) -> memory.InputRanks:
    """The ranks of all adapters that stand side by side in one layer, by what they read."""
    sums = dict.fromkeys(("qkv", "out", "gate_up", "down"), 0)
    places = {
        "q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "qkv_proj": "qkv", "o_proj": "out",
        "gate_proj": "gate_up", "up_proj": "gate_up", "gate_up_proj": "gate_up", "down_proj": "down",
    }  # fmt: skip
    for one in adapters:
        ranks = {name.split(".")[-4]: len(value) for name, value in one.items() if ".lora_A." in name}
        for module, rank in ranks.items():
            sums[places[module]] += rank
    return memory.InputRanks(**sums)


def _lean(
    model: Any,
    settings: TrainingSettings,
    initial: Sequence[dict[str, Tensor]],
    device: torch.device,
    policy: memory.Policy,
    longest: int,
    examples: Sequence[Example],
) -> LeanEngine:
    """The fast path with a sentence for everything that was decided."""
    base, count = model.get_base_model(), len(initial)
    scales = [scales_of(base, name) for name in adapter_names(count)]
    # Adapters trained side by side would each read the prefix for themselves.
    prefix = _prefix(examples, device) if count == 1 else []
    engine = LeanEngine(
        take_apart(base, initial, scales, device, policy.nf4),
        AdapterWeights(initial, settings.lora_plus_ratio),
        # The policy counts the tokens of all adapters.
        max(longest, policy.pack_tokens // count),
        policy.activations,
        prefix,
    )
    engine.words.append(
        "It is trained on the fast path: the adapter is computed inside the frozen matrices, and only learned"
        " tokens reach the output layer."
    )
    if device.type == "cuda":
        engine.words += policy.words
    else:
        engine.words.append(kernels.words_on_processor())
    if prefix:
        engine.words.append(
            f"Most examples begin with the same {len(prefix)} tokens, which are read once for all of a pack."
        )
    if count > 1:
        engine.words.append(f"{count} adapters are trained side by side over one base model.")
    return engine


def _record(engine: LeanEngine, examples: Sequence[Example], plan: Sequence[Sequence[int]]) -> None:
    """Let the engine replay one recorded graph for every pack, where that is right and pays."""
    width = engine.model.layers.sizes.head_size
    if len(plan) >= LEAST_RECORDED and reads_borders_on_device(
        engine.device, engine.model.embeddings.dtype, width
    ):
        engine.record_for(examples, plan)
        engine.words.append(
            "Each pack is one recorded CUDA graph, which takes under a second to record. Nothing is compiled"
            " for this run."
        )
