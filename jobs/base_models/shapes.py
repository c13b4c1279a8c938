"""The shape of a decoder: the few numbers of a config.json from which all its values can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from storage.errors import StudioError

# Architectures whose layers are q, k, v, o, gate, up and down projections with RMS norms.
LLAMA_LIKE = frozenset(
    {"llama", "mistral", "ministral", "smollm3", "granite", "qwen2", "qwen3", "gemma3_text", "olmo2"}
)
# Norms over the model's width in each layer; two unless said otherwise.
_WIDE_NORMS = {"gemma3_text": 4}


@dataclass(frozen=True)
class ModelShape:
    """`architecture` is the config's model_type, sizes are in values, `positions` in tokens."""

    architecture: str
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tied: bool
    positions: int = 0
    attention_bias: bool = False
    mlp_bias: bool = False

    @property
    def query_size(self) -> int:
        """Output features of the query projection."""
        return self.heads * self.head_dim

    @property
    def key_size(self) -> int:
        """Output features of the key projection, and of the value projection."""
        return self.kv_heads * self.head_dim


def from_config(config: dict[str, Any]) -> ModelShape:
    """The shape that a config.json describes; for a model that also sees pictures, its text part.

    Raises StudioError when a needed number is missing or no positive whole number.
    """
    config = config.get("text_config", config)
    heads = _number(config, "num_attention_heads", "n_head")
    hidden = _number(config, "hidden_size", "n_embd")
    positions = _number(config, "max_position_embeddings", "n_positions", default=1024)
    architecture = str(config.get("model_type", "unknown"))
    return ModelShape(
        architecture=architecture,
        hidden_size=hidden,
        layers=_number(config, "num_hidden_layers", "n_layer"),
        heads=heads,
        kv_heads=_number(config, "num_key_value_heads", default=heads),
        head_dim=_number(config, "head_dim", default=max(hidden // heads, 1)),
        intermediate_size=_number(config, "intermediate_size", "n_inner", default=4 * hidden),
        vocab_size=_number(config, "vocab_size"),
        tied=bool(config.get("tie_word_embeddings", architecture in ("gpt2", "gemma3_text"))),
        positions=positions,
        # Qwen2 has these biases always, and no field for them.
        attention_bias=bool(config.get("attention_bias", architecture == "qwen2")),
        mlp_bias=bool(config.get("mlp_bias", False)),
    )


def parameters(shape: ModelShape) -> int:
    """All values of the model: embeddings, matrices, biases and norms.

    Raises StudioError for an architecture that is not known in this detail.
    """
    embeddings = shape.vocab_size * shape.hidden_size * (1 if shape.tied else 2)
    if shape.architecture == "gpt2":
        hidden, inner = shape.hidden_size, shape.intermediate_size
        matrices = 4 * hidden * hidden + 2 * hidden * inner
        biases_and_norms = 9 * hidden + inner
        embeddings += shape.positions * hidden
        return embeddings + shape.layers * (matrices + biases_and_norms) + 2 * hidden
    if shape.architecture not in LLAMA_LIKE | {"phi3"}:
        raise StudioError(
            f"The size of a “{shape.architecture}” model is not known before it is fetched.",
            "Fetch it first.",
        )
    attention = shape.hidden_size * 2 * (shape.query_size + shape.key_size)
    mlp = 3 * shape.hidden_size * shape.intermediate_size
    norms = _WIDE_NORMS.get(shape.architecture, 2) * shape.hidden_size + _query_and_key_norms(shape)
    return embeddings + shape.layers * (attention + mlp + _biases(shape) + norms) + shape.hidden_size


def _biases(shape: ModelShape) -> int:
    """Biases of one layer; Qwen2 has none on the output projection."""
    attention = shape.query_size + 2 * shape.key_size
    if shape.architecture != "qwen2":
        attention += shape.hidden_size
    mlp = 2 * shape.intermediate_size + shape.hidden_size
    return shape.attention_bias * attention + shape.mlp_bias * mlp


def _query_and_key_norms(shape: ModelShape) -> int:
    """Norms on queries and keys in one layer: per head in Qwen3 and Gemma 3, over all heads in OLMo 2."""
    if shape.architecture in ("qwen3", "gemma3_text"):
        return 2 * shape.head_dim
    return shape.query_size + shape.key_size if shape.architecture == "olmo2" else 0


def _number(config: dict[str, Any], *names: str, default: int | None = None) -> int:
    """The first of `names` that the config has; null counts as missing."""
    for name in names:
        value = config.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise StudioError(f"config.json says {name} is {value!r}.", "It must be a whole number from 1.")
        return value
    if default is None:
        raise StudioError(f"config.json does not say {names[0]}.", "Choose a folder with a language model.")
    return default
