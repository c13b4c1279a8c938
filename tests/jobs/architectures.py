"""A small config of every architecture that the studio knows in detail, all sizes different."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

_SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {**_SIZES, "tie_word_embeddings": True},
    "llama with biases": {**_SIZES, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    "mistral": {**_SIZES, "head_dim": 20, "tie_word_embeddings": False},
    "smollm3": {**_SIZES, "tie_word_embeddings": True},
    "granite": {**_SIZES, "tie_word_embeddings": True},
    "qwen2": {**_SIZES, "tie_word_embeddings": True},
    "qwen3": {**_SIZES, "head_dim": 32, "tie_word_embeddings": False},
    "gemma3_text": {**_SIZES, "head_dim": 256, "tie_word_embeddings": True},
    "olmo2": {**_SIZES, "tie_word_embeddings": False},
    "phi3": {**_SIZES, "tie_word_embeddings": True},
    "gpt2": {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_inner": 80, "vocab_size": 100, "n_positions": 64},
}


def config_of(name: str, **changes: Any) -> Any:
    """The transformers config of one of CONFIGS."""
    return AutoConfig.for_model(name.split()[0], **{**CONFIGS[name], **changes})


def model_of(config: Any, device: str = "meta") -> Any:
    """The real model of a config; on "meta" it has shapes but takes no memory."""
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config)
