"""GGUF files converted once to bf16 safetensors; only job processes come here, as the page has no torch."""

from __future__ import annotations

from pathlib import Path

import torch
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from jobs.base_models import gguf as gguf_file
from storage.errors import StudioError


def convert(path: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file into `folder` as bf16 safetensors.

    Raises StudioError when its architecture or quantisation cannot be converted.
    """
    gguf_file.check(path)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise StudioError(
            f"{path.name} cannot be converted for training: {error}",
            "Use the original safetensors version of this model.",
        ) from error
    _split_digits_like_smollm(path, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # The library makes weights readable by their owner alone; everything else follows the umask.
    for weights in folder.glob("*.safetensors"):
        weights.chmod(folder.joinpath("config.json").stat().st_mode)


def _split_digits_like_smollm(path: Path, tokenizer: object) -> None:
    """Restore what the conversion of transformers drops: SmolLM's tokenizer takes each digit by itself.

    Without it "\\n\\n12" and runs of spaces before a number get other tokens than the model was trained on.
    """
    field = GGUFReader(path).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[attr-defined]
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
