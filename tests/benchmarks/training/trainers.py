"""The peers that bring a training loop of their own: TRL's SFTTrainer with PEFT, plain and under Unsloth."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from jobs.training.examples import Example
from tests.benchmarks.training.cases import PACK_TOKENS, UNSLOTH, Case
from tests.benchmarks.training.rows import Timing
from tests.benchmarks.training.shapes import LINEARS, random_model, tokenizer_of

IGNORED = -100


def trained(case: Case, examples: Sequence[Example], give_up_at: float) -> Timing:
    """Run the peer's own training for the case's steps, or until `give_up_at` (`time.perf_counter`).

    Raises:
        ImportError: the peer is not installed.
    """
    if case.who in UNSLOTH:
        model, tokenizer, peft_config = _unsloth(case)
    else:
        model, tokenizer, peft_config = _trl(case)
    from trl import SFTConfig, SFTTrainer

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            max_steps=1 + case.warm_up + case.steps,
            use_cpu=case.device == "cpu",
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **case.setup,
        )
        trainer = SFTTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset_of(examples),
            processing_class=tokenizer,
            peft_config=peft_config,
        )
        return _timed(trainer, case.device, began, give_up_at)


def dataset_of(examples: Sequence[Example]) -> Any:
    """The examples as the peers read them: tokens, and what is learned of them."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "input_ids": example.token_ids.tolist(),
                "labels": [
                    token_id if learned else IGNORED
                    for token_id, learned in zip(example.token_ids.tolist(), example.learned, strict=True)
                ],
            }
            for example in examples
        ]
    )


def _trl(case: Case) -> tuple[Any, Any, Any]:
    import trl  # noqa: F401 - missing is said before a model is made
    from peft import LoraConfig

    rank = case.ranks[0]
    config = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules=LINEARS)
    attention = "flex_attention" if case.who == "trl_flex" else "sdpa"
    model = random_model(case.model, case.device, torch.bfloat16, attention)
    return model, tokenizer_of(case.model), config


def _unsloth(case: Case) -> tuple[Any, Any, Any]:
    from unsloth import FastLanguageModel

    if case.folder is None:
        raise FileNotFoundError("the model could not be saved, and Unsloth reads folders only")
    model, tokenizer = FastLanguageModel.from_pretrained(
        case.folder, max_seq_length=PACK_TOKENS, dtype=torch.bfloat16, load_in_4bit=False
    )
    model = FastLanguageModel.get_peft_model(
        model,
        r=case.ranks[0],
        lora_alpha=2 * case.ranks[0],
        lora_dropout=0,
        target_modules=LINEARS,
        use_gradient_checkpointing="unsloth",
    )
    return model, tokenizer, None


def _timed(trainer: Any, device: str, began: float, give_up_at: float) -> Timing:
    """Train, with a look at the clock behind every step; tokens are counted on the device and read last."""
    from transformers import TrainerCallback

    timing, counts = Timing(), _Counts()
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            synchronize(device)
            ends.append(time.perf_counter())
            counts.close_step()
            control.should_training_stop |= ends[-1] > give_up_at
            return control

    trainer.add_callback(Clock())
    trainer.training_step = counts.counting(trainer.training_step)
    trainer.train()
    timing.first_step_seconds = ends[0] - began
    for begin, end, (real, supervised) in zip([began, *ends], ends, counts.steps, strict=False):
        timing.add(end - begin, int(real), int(supervised))
    return timing


class _Counts:
    """Tokens of every step, as tensors that nobody waits for."""

    def __init__(self) -> None:
        self.steps: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._open: list[tuple[torch.Tensor, torch.Tensor]] = []

    def counting(self, training_step: Callable[..., Any]) -> Callable[..., Any]:
        def step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            labels, mask = inputs["labels"], inputs.get("attention_mask")
            real = torch.tensor(labels.numel()) if mask is None else mask.sum()
            self._open.append((real, (labels[..., 1:] != IGNORED).sum()))
            return training_step(model, inputs, *args, **kwargs)

        return step

    def close_step(self) -> None:
        real, supervised = zip(*self._open, strict=True)
        self.steps.append((sum(real), sum(supervised)))  # type: ignore[arg-type]
        self._open = []


def synchronize(device: str) -> None:
    """Wait until the device has done all it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
