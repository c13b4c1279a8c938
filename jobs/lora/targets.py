"""Which matrices of a model an adapter may change, and how a choice of them is named for PEFT."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.base_models import weights
from jobs.base_models.shapes import LLAMA_LIKE, ModelShape
from storage.errors import StudioError

PRESETS = {
    "query_value": "the attention's queries and values, as in the first paper (Hu et al. 2021, section 4.2)",
    "attention": "all matrices of the attention",
    "all_linear": "every matrix of every layer: near full fine-tuning (Dettmers et al. 2023, section 4)",
}
AUTO = "all_linear"

_QUERY_OR_VALUE = {"q_proj", "v_proj", "query", "value", "q_lin", "v_lin", "wq", "wv"}
# One matrix for query, key and value together.
_FUSED = {"qkv_proj", "c_attn", "query_key_value", "Wqkv", "qkv"}
_IN_ATTENTION = re.compile(r"att(entio)?n", re.IGNORECASE)
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.(\d+)\.(.+)$")
# Experts are one large tensor in transformers, routers are not linear layers, and pictures are not text.
_NO_TARGET = re.compile(r"\.experts\.|\.router\b|mlp\.gate$|norm|vision|visual|audio|embed", re.IGNORECASE)


@dataclass(frozen=True)
class Matrix:
    """One linear layer, y = W x with W of (out_features, in_features).

    `name` is what its kind is called in every layer, `path` is the module's own, and `copies` says how many
    layers of the model have one.
    """

    layer: int | None
    name: str
    path: str
    out_features: int
    in_features: int
    copies: int = 1

    @property
    def parameters(self) -> int:
        """The values of W."""
        return self.out_features * self.in_features


def matrices(shape: ModelShape) -> list[Matrix]:
    """All linear layers of a model's decoder by its shape alone; the output layer (lm_head) is none of them.

    Raises StudioError for an architecture whose layers are not known here; `matrices_of_folder` reads any.
    """
    prefix = "transformer.h" if shape.architecture == "gpt2" else "model.layers"
    found = [
        Matrix(layer, path.rpartition(".")[2], f"{prefix}.{layer}.{path}", out_features, in_features)
        for layer in range(shape.layers)
        for path, (out_features, in_features) in _layer_of(shape).items()
    ]
    return _named(found)


def matrices_of_folder(folder: Path) -> list[Matrix]:
    """All linear layers of the model in a folder, from the headers of its safetensors files.

    Raises StudioError when the files are damaged, or no layers are found in them.
    """
    stored_transposed = weights.read_config(folder).get("model_type") == "gpt2"  # GPT-2's Conv1D: (in, out)
    found = []
    for name, tensor in weights.headers(folder).items():
        path = name.removesuffix(".weight")
        match = _LAYER.search(path)
        if match is None or path == name or len(tensor.shape) != 2 or _NO_TARGET.search(path):
            continue
        out_features, in_features = reversed(tensor.shape) if stored_transposed else tensor.shape
        found.append(Matrix(int(match[1]), path.rpartition(".")[2], path, out_features, in_features))
    if not found:
        raise StudioError("This model has no layers that LoRA could change.", "Choose another base model.")
    return _named(sorted(found, key=lambda matrix: matrix.layer or 0))


def choose(
    all_matrices: Sequence[Matrix], target_modules: str | Iterable[str] = "auto", layers: str = "all"
) -> list[Matrix]:
    """The matrices that a choice of target modules and layers means.

    `target_modules` is "auto", a preset or module names; `layers` is "all", "7" or an inclusive range "4-11",
    counted from 0.
    Raises StudioError, with what is allowed, when nothing or something unknown is chosen.
    """
    wanted = [target_modules] if isinstance(target_modules, str) else list(target_modules)
    wanted = [AUTO if name == "auto" else name for name in wanted]
    first, last = _layer_range(layers, 1 + max(matrix.layer or 0 for matrix in all_matrices))
    by_wish = {name: [matrix for matrix in all_matrices if _is_meant(matrix, name)] for name in wanted}
    unknown = [name for name, found in by_wish.items() if not found]
    if unknown or not wanted:
        raise StudioError(
            f"This model has no target modules {', '.join(map(repr, unknown)) or '(none were named)'}.",
            f"Choose “auto”, {', '.join(PRESETS)}, or from {', '.join(_kinds(all_matrices))}.",
        )
    meant = {matrix for found in by_wish.values() for matrix in found}
    chosen = [matrix for matrix in all_matrices if matrix in meant and first <= (matrix.layer or 0) <= last]
    if not chosen:
        raise StudioError(
            f"Layers {layers} of this model have none of these modules.", "Choose other layers."
        )
    return chosen


def module_names(chosen: Sequence[Matrix]) -> list[str]:
    """The choice as PEFT's `target_modules`: a kind's name where all its layers are chosen, else paths.

    Paths start at the list of layers, because some checkpoints leave out what stands before it.
    """
    counts = Counter(matrix.name for matrix in chosen)
    return list(
        dict.fromkeys(
            matrix.name if counts[matrix.name] == matrix.copies else path_in_layers(matrix.path)
            for matrix in chosen
        )
    )


def ranks(chosen: Sequence[Matrix], rank: int, rank_pattern: Mapping[str, int]) -> list[int]:
    """The rank of each chosen matrix: that of the first name in the pattern which means it, else `rank`.

    Raises StudioError when a name in the pattern means none of them: it would silently do nothing.
    """
    unknown = [name for name in rank_pattern if not any(_is_meant(matrix, name) for matrix in chosen)]
    if unknown:
        raise StudioError(
            f"A rank is given for {', '.join(map(repr, unknown))}, which is not among the chosen modules.",
            f"Choose from {', '.join(_kinds(chosen))}.",
        )
    return [
        next((own for name, own in rank_pattern.items() if _is_meant(matrix, name)), rank)
        for matrix in chosen
    ]


def by_name(chosen: Sequence[Matrix], values: Sequence[int]) -> dict[str, int]:
    """One value for each chosen matrix as PEFT's rank_pattern: by kind where a kind has one value, else by path.

    No two names mean the same matrix, because programs differ in which of two they would take.
    """
    of_kind: dict[str, set[int]] = {}
    for matrix, value in zip(chosen, values, strict=True):
        of_kind.setdefault(matrix.name, set()).add(value)
    return {
        matrix.name if len(of_kind[matrix.name]) == 1 else path_in_layers(matrix.path): value
        for matrix, value in zip(chosen, values, strict=True)
    }


def note(chosen: Sequence[Matrix], target_modules: str | Iterable[str]) -> str:
    """What a user should know about a choice; empty when it is exactly what was asked for."""
    wanted = [target_modules] if isinstance(target_modules, str) else list(target_modules)
    fused = sorted({matrix.name for matrix in chosen if _leaf(matrix) in _FUSED})
    if "query_value" in wanted and fused:
        return f"This model keeps query, key and value in one matrix ({fused[0]}), so the key is changed too."
    return ""


def path_in_layers(path: str) -> str:
    """A matrix's path from the list of layers on, which a model and its checkpoint have in common."""
    match = _LAYER.search(path)
    return path if match is None else path[match.start() :].lstrip(".")


def _layer_of(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """The linear layers of one decoder layer: path in it -> (out_features, in_features)."""
    hidden, inner, query, key = shape.hidden_size, shape.intermediate_size, shape.query_size, shape.key_size
    if shape.architecture in LLAMA_LIKE:
        return {
            "self_attn.q_proj": (query, hidden),
            "self_attn.k_proj": (key, hidden),
            "self_attn.v_proj": (key, hidden),
            "self_attn.o_proj": (hidden, query),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
    if shape.architecture == "phi3":
        return {
            "self_attn.qkv_proj": (query + 2 * key, hidden),
            "self_attn.o_proj": (hidden, query),
            "mlp.gate_up_proj": (2 * inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
    if shape.architecture == "gpt2":
        return {
            "attn.c_attn": (3 * hidden, hidden),
            "attn.c_proj": (hidden, hidden),
            "mlp.c_fc": (inner, hidden),
            "mlp.c_proj": (hidden, inner),
        }
    raise StudioError(
        f"The layers of a “{shape.architecture}” model are not known before it is fetched.", "Fetch it first."
    )


def _named(found: list[Matrix]) -> list[Matrix]:
    """Tell kinds that share their last name apart (attn.c_proj, mlp.c_proj), and count the copies of each."""
    per_layer = Counter((matrix.layer, matrix.name) for matrix in found)
    shared = {name for (_, name), count in per_layer.items() if count > 1}
    names = [
        ".".join(matrix.path.split(".")[-2:]) if matrix.name in shared else matrix.name for matrix in found
    ]
    copies = Counter(names)
    return [
        dataclasses.replace(matrix, name=name, copies=copies[name])
        for matrix, name in zip(found, names, strict=True)
    ]


def _is_meant(matrix: Matrix, wanted: str) -> bool:
    if wanted == "all_linear":
        return True
    if wanted == "attention":
        return _IN_ATTENTION.search(matrix.path) is not None
    if wanted == "query_value":
        return _leaf(matrix) in _QUERY_OR_VALUE | _FUSED
    return matrix.path == wanted or f".{matrix.path}".endswith(f".{wanted}")


def _leaf(matrix: Matrix) -> str:
    return matrix.path.rpartition(".")[2]


def _kinds(all_matrices: Sequence[Matrix]) -> list[str]:
    return list(dict.fromkeys(matrix.name for matrix in all_matrices))


def _layer_range(layers: str, count: int) -> tuple[int, int]:
    """First and last layer of "all", "7" or "4-11"; `count` layers exist."""
    text = str(layers).replace(" ", "")
    if text == "all":
        return 0, count - 1
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if not first <= last < count:
        raise StudioError(
            f"The layers {layers!r} are not a range of this model's layers.",
            f"Give “all”, or a range from 0 to {count - 1}, such as 0-{count - 1}.",
        )
    return first, last
