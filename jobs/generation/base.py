"""A base model from its folder into memory, in the number format that the device computes fastest."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from storage.errors import StudioError

# Above this length the scores of plain attention cost more than the slow bf16 backward of torch's fused
# attention on processors; below it plain attention is the faster one.
PLAIN_ATTENTION_TOKENS = 256
CPU_FLAGS = Path("/proc/cpuinfo")
# From here on (Volta) NVIDIA GPUs multiply in fp16 many times as fast as in fp32.
FP16_CAPABILITY = (7, 0)


def load_base(
    folder: Path, device: str, precision: str = "auto", longest_row_tokens: int | None = None
) -> PreTrainedModel:
    """The frozen base model on `device`; only safetensors are read and no code of the model is run.

    Raises:
        StudioError: the folder holds no model that this version can run, or the format is not possible here.
    """
    dtype = number_format(device, precision)
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    if (
        device == "cpu"
        and dtype == torch.bfloat16
        and (longest_row_tokens or 0) in range(1, PLAIN_ATTENTION_TOKENS + 1)
    ):
        options["attn_implementation"] = "eager"
    if precision == "nf4":
        options["device_map"] = {"": device}
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError) as error:
        raise StudioError(
            f"The model in the folder {Path(folder).name} cannot be loaded: {error}",
            "Fetch the model again, or choose another base model.",
        ) from error
    if precision != "nf4":
        model = model.to(device)
    return model.requires_grad_(False).eval()


def number_format(device: str, precision: str) -> torch.dtype:
    """The format to compute in: "auto" takes bf16 where the hardware multiplies in it, else fp16 or fp32.

    Raises:
        StudioError: nf4 is asked for without an NVIDIA GPU and bitsandbytes.
    """
    if precision == "nf4" and not (device.startswith("cuda") and find_spec("bitsandbytes")):
        raise StudioError(
            "The number format nf4 needs an NVIDIA GPU and the package bitsandbytes.",
            'Set precision to "auto", or install bitsandbytes on a machine with an NVIDIA GPU.',
        )
    if precision in ("fp32", "bf16"):
        return torch.float32 if precision == "fp32" else torch.bfloat16
    if _multiplies_in_bf16(device):
        return torch.bfloat16
    if device.startswith("cuda") and torch.cuda.get_device_capability(device) >= FP16_CAPABILITY:
        return torch.float16
    return torch.float32


def _multiplies_in_bf16(device: str) -> bool:
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch has no public question for this; elsewhere than on Linux fp32 is the safe answer.
    flags = CPU_FLAGS.read_text().split() if CPU_FLAGS.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags
