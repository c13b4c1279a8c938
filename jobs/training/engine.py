"""What computes a run's losses and gradients: the fast path where it is known to be right, else the plain one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from jobs.base_models import shapes
from jobs.lora import memory
from jobs.progress import Progress
from jobs.training import kernels
from jobs.training.examples import Example
from jobs.training.lean import LeanEngine
from jobs.training.lean_model import LeanModel, ordered, scales_of, take_apart, unsupported
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
    longest = max(len(example.token_ids) for example in examples)
    reason = _needs_plain(model.peft_config[names[0]]) or unsupported(base, initial, longest)
    if reason is None:
        progress.phase("Preparing the fast path")
        initial = [ordered(one) for one in initial]
        plan = _plan(settings, examples)
        policy = _policy(base, settings, initial, device, longest, plan, examples)
        scales = [scales_of(base, name) for name in names]
        lean = _lean(
            take_apart(base, initial, scales, device, policy.nf4),
            AdapterWeights(initial, settings.lora_plus_ratio),
            policy,
            examples,
        )
        reason = difference(lean, model, examples)
        if reason is None:
            if device.type == "cuda" and len(plan) >= LEAST_RECORDED:
                lean.record_for(examples, plan)
                lean.words.append(
                    "Each step is one recorded CUDA graph, which took under a second to record. Nothing is"
                    " compiled for this run."
                )
            return lean
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
    lengths = [len(example.token_ids) for example in examples]
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
    if device.type != "cuda":
        return memory.Policy("keep", max(longest, memory.MOST_TOKENS_CPU))
    shape = shapes.from_config(base.config.to_dict())
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    tokens = [sum(len(examples[row].token_ids) for row in rows) for rows in plan]
    layers = {int(name.partition(".layers.")[2].partition(".")[0]) for name in adapters[0]}
    return memory.choose_policy(
        shape,
        base.num_parameters(),
        sum(value.numel() for one in adapters for value in one.values()),
        memory_bytes=free,
        longest_example=longest,
        precision="nf4" if settings.precision == "nf4" else precision,
        ranks=_input_ranks(adapters),
        layers=shape.layers - min(layers),
        step_tokens=max(tokens),
        may_use_nf4=settings.precision == "auto",
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
    model: LeanModel, weights: AdapterWeights, policy: memory.Policy, examples: Sequence[Example]
) -> LeanEngine:
    """The fast path with a sentence for everything that was decided."""
    # Adapters trained side by side would each read the prefix for themselves.
    prefix = _prefix(examples, weights.master.device) if len(weights.masters) == 1 else []
    engine = LeanEngine(model, weights, policy.pack_tokens, policy.activations, prefix)
    engine.words.append(
        "It is trained on the fast path: the adapter is computed inside the frozen matrices, and only learned"
        " tokens reach the output layer."
    )
    if engine.device.type == "cuda":
        engine.words += policy.words
    elif engine.device.type == "cpu":
        engine.words.append(kernels.words_on_processor())
    if prefix:
        engine.words.append(
            f"Most examples begin with the same {len(prefix)} tokens, which are read once for all of a pack."
        )
    if len(weights.masters) > 1:
        engine.words.append(f"{len(weights.masters)} adapters are trained side by side over one base model.")
    return engine
