"""What a decoder layer does between its matrix products, forward and backward; see `portable` for the meaning.

`portable` runs everywhere, `fused` on NVIDIA GPUs, `compiled` on processors where there is a C++ compiler; all
have the same functions.
"""

from __future__ import annotations

from types import ModuleType

import torch


def for_device(device: torch.device) -> ModuleType:
    """The functions that suit a device; always the same on one machine, so that a resumed run goes on exactly."""
    if device.type == "cuda":
        from jobs.training.kernels import fused

        return fused
    from jobs.training.kernels import compiled, portable

    return compiled if device.type == "cpu" and compiled.load() is None else portable


def words_on_processor() -> str:
    """What `for_device` chose on a processor, in a sentence for the run page."""
    from jobs.training.kernels import compiled

    problem = compiled.load()
    if problem is not None:
        return f"What stands between its matrix products runs in plain torch, which is slower: {problem}."
    seconds = compiled.compile_seconds()
    if seconds is None:
        return "What stands between its matrix products runs as machine code for this processor."
    return (
        "What stands between its matrix products runs as machine code for this processor, compiled in"
        f" {seconds:.1f} seconds; later runs use it again."
    )
