"""What is measured: the contestants, how each is set up, and which shapes they get."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

OURS = ("ours", "ours_fp32", "ours_small", "ours_nf4", "sweep")
NAIVE = ("naive_fp32", "naive_bf16")
TRL = ("trl_default", "trl_tuned", "trl_flex", "trl_wrapped")
UNSLOTH = ("unsloth", "unsloth_packed")
PEERS = (*NAIVE, *TRL, *UNSLOTH)
# They read a model only from a folder.
FROM_FOLDER = UNSLOTH
ON_A_GPU = ("trl_flex", "ours_small", "ours_nf4")
PACK_TOKENS = 2048
TUNED_ROWS = {"8b": 2}
SWEEP_RANKS = (2, 4, 8, 16)
DEFAULT_PEERS = {
    "cuda": ("trl_tuned", "trl_default", "unsloth", "unsloth_packed"),
    "cpu": ("naive_fp32", "naive_bf16"),
}
DEFAULT_OURS = {"cuda": ("ours",), "cpu": ("ours", "ours_fp32")}


@dataclass(frozen=True)
class Case:
    """One contestant on one shape; `setup` are the peer's own settings, shown with every figure."""

    who: str
    model: str
    device: str
    steps: int
    warm_up: int
    rounds: int
    seconds: float
    tokens_per_step: int
    ranks: tuple[int, ...] = (16,)
    setup: dict[str, Any] = field(default_factory=dict)
    data: str | None = None
    tokenizer: str | None = None
    folder: str | None = None
    leave_gib: float | None = None
    profile: bool = False
    limit_flops: float | None = None

    @property
    def precision(self) -> str:
        """The number format of the base weights."""
        if self.who == "ours_nf4":
            return "nf4"
        return "fp32" if self.who.endswith("_fp32") else "bf16"

    @property
    def takes_turns(self) -> bool:
        """Whether it goes step by step, so that several can be measured in turns."""
        return self.who in OURS or self.who in NAIVE

    def as_json(self) -> str:
        """For the command line of its process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Case:
        """What `as_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "ranks": tuple(values["ranks"])})


def setups(case: Case) -> list[Case]:
    """The case as it will be tried: the first setup that fits is the one that counts."""
    cuda = case.device.startswith("cuda")
    packed: dict[str, Any] = {
        "packing": True,
        "max_length": PACK_TOKENS,
        "gradient_checkpointing": False,
        "use_liger_kernel": cuda,
    }
    rows = TUNED_ROWS.get(case.model, 8)
    strategies = {"trl_tuned": "bfd", "trl_flex": "bfd", "trl_wrapped": "wrapped"}
    if case.who in strategies:
        packed["packing_strategy"] = strategies[case.who]
        smaller = {"per_device_train_batch_size": max(1, rows // 2)}
        checkpointed = {"per_device_train_batch_size": 2 * rows, "gradient_checkpointing": True}
        first = replace(case, setup={**packed, "per_device_train_batch_size": rows})
        others = [replace(case, setup={**packed, **change}) for change in (smaller, checkpointed)]
        return [first, *others] if cuda else [first]
    if case.who == "unsloth_packed":
        return [
            replace(
                case,
                setup={
                    "packing": True,
                    "max_length": PACK_TOKENS,
                    "per_device_train_batch_size": 4 if case.model == "8b" else 8,
                    "gradient_accumulation_steps": 2,
                },
            )
        ]
    if case.who == "sweep":
        return [replace(case, ranks=SWEEP_RANKS)]
    return [case]
