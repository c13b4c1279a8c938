"""Models of real shapes with random weights, and what a token of theirs costs at the least."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from jobs.training.examples import Example

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_TOKENS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 400,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    # SmolLM2-135M
    "135m": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    },
    # Qwen3-0.6B
    "0.6b": {
        "model_type": "qwen3",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    },
    # Llama-3.1-8B
    "8b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    },
}


def config_of(name: str) -> Any:
    """The transformers config of one of SHAPES."""
    values = {**SHAPES[name], **_TOKENS}
    return AutoConfig.for_model(values.pop("model_type"), **values)


def random_model(name: str, device: str, dtype: torch.dtype, attention: str = "sdpa") -> Any:
    """The model with random weights, made where it will be used."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config_of(name), dtype=dtype, attn_implementation=attention)
    return model


def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """A tokenizer as large as the shape's vocabulary; the peers ask for one though their rows are tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3}
    words |= {f"w{i}": i for i in range(4, SHAPES[name]["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def saved_model(name: str, folder: Path, device: str) -> None:
    """The random model as a folder, for those who only read folders."""
    random_model(name, device, torch.bfloat16).save_pretrained(folder)
    tokenizer_of(name).save_pretrained(folder)


def flops_per_token(name: str, rank: int, examples: Sequence[Example]) -> float:
    """4N + 6P + 7·S·d·L + s·4·h·V: the least that a learned adapter costs.

    N are the frozen linear weights (forward and input gradient, no weight gradient), P the adapters'
    (forward, input and weight gradient), S the mean length that a token's text has, d the width of all
    query heads, L the layers (causal attention, backward 2.5 times forward), s the share of learned tokens,
    h·V the output layer, which runs only for them.
    """
    shape = SHAPES[name]
    hidden, inner, layers = (
        shape["hidden_size"],
        shape["intermediate_size"],
        shape["num_hidden_layers"],
    )
    head = shape.get("head_dim", hidden // shape["num_attention_heads"])
    query, key = head * shape["num_attention_heads"], head * shape["num_key_value_heads"]
    sizes = [
        (hidden, query),
        (hidden, key),
        (hidden, key),
        (query, hidden),
        (hidden, inner),
        (hidden, inner),
        (inner, hidden),
    ]
    frozen = layers * sum(a * b for a, b in sizes)
    adapters = layers * rank * sum(a + b for a, b in sizes)
    lengths = [len(example.token_ids) for example in examples]
    tokens = sum(lengths)
    length = sum(count * count for count in lengths) / tokens
    learned = sum(example.supervised_tokens for example in examples) / tokens
    return (
        4 * frozen + 6 * adapters + 7 * length * query * layers + learned * 4 * hidden * shape["vocab_size"]
    )
