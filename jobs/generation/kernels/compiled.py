"""A whole step of all rows in C++ (see `step.cpp`), where there is a compiler."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.generation.memory import Memory
from jobs.training.adapted_linear import AdaptedLinear
from jobs.training.kernels.building import built
from jobs.training.lean_model import LeanModel

_log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("step.cpp")
_SUFFIX = {torch.float32: "fp32", torch.bfloat16: "bf16"}
# From here on products of torch's are faster than ours.
MOST_ROWS = 48

# A thread that computes less than this in a step is waited for longer than it helps.
BYTES_FOR_A_THREAD = 16_000_000
# So many programs besides this one may be busy before a step keeps to one core.
OTHER_PROGRAMS = 1.5

_pointer, _size, _float = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float


class _Linear(ctypes.Structure):
    _fields_ = [(name, _pointer) for name in ("matrix", "bias")] + [
        (name, _size) for name in ("outputs", "inputs", "stride")
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, _Linear) for name in ("qkv", "out", "gate_up", "down")),
        *((name, _pointer) for name in ("first_norm", "second_norm", "query_norm", "key_norm")),
        *((name, _pointer) for name in ("keys", "values")),
        ("turns", _size),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.POINTER(_Layer)),
        *((name, _pointer) for name in ("embeddings", "final_norm", "head", "cos", "sin")),
        *(
            (name, _size)
            for name in (
                "count", "hidden", "heads", "kv_heads", "head_size", "rotated", "inner", "vocabulary", "room",
            )
        ),
        ("eps", _float),
        ("scale", _float),
    ]  # fmt: skip


class _Batch(ctypes.Structure):
    _fields_ = [
        *((name, _pointer) for name in ("tokens", "slots", "lengths")),
        ("gains", _pointer * 4),
        ("ranks", _size * 4),
        ("gain_strides", _size * 4),
        ("scores", _pointer),
        ("rows", _size),
    ]


@cache
def load(dtype: torch.dtype) -> Callable[..., None] | None:
    """The compiled step for a number format; None where it cannot be had."""
    if dtype not in _SUFFIX:
        return None
    try:
        library, _ = built(_SOURCE)
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("compiling %s: %s %s", _SOURCE.name, error, getattr(error, "stderr", None) or "")
        return None
    address = ctypes.c_void_p.in_dll(library, f"step_{_SUFFIX[dtype]}").value
    assert address is not None
    return ctypes.CFUNCTYPE(None)(address)


class CompiledStep:
    """One more token of every row; see `jobs.generation.lean.Step`."""

    def __init__(self, model: LeanModel, memory: Memory, turns: tuple[Tensor, Tensor]) -> None:
        """`turns` reach as far as the memory. No matrix may move while this is in use."""
        function = load(model.embeddings.dtype)
        assert function is not None
        self._function = function
        matrices = (model.layers.weights.qkv, model.layers.weights.out, model.layers.weights.gate_up)
        values = len(model.head) * model.embeddings.shape[1] + model.count * sum(
            linear.inputs * linear.outputs for linear in matrices
        )
        self._bytes = values * model.embeddings.element_size()
        # ctypes holds addresses; these hold what is there.
        self._kept = (model, memory, turns)
        self._layers = (_Layer * model.count)(*(_layer(model, memory, i) for i in range(model.count)))
        sizes, weights = model.layers.sizes, model.layers.weights
        self._model = _Model(
            layers=self._layers,
            embeddings=_address(model.embeddings),
            final_norm=_address(model.final_norm),
            head=_address(model.head),
            cos=_address(turns[0]),
            sin=_address(turns[1]),
            count=model.count,
            hidden=model.embeddings.shape[1],
            heads=sizes.heads,
            kv_heads=sizes.kv_heads,
            head_size=sizes.head_size,
            rotated=turns[0].shape[1],
            inner=weights.down.inputs,
            vocabulary=len(model.head),
            room=memory.room,
            eps=sizes.eps,
            scale=sizes.scale,
        )

    def __call__(
        self, tokens: Tensor, slots: Tensor, lengths: Tensor, gains: Sequence[Tensor] | None
    ) -> Tensor:
        """Logits (rows, vocabulary) in fp32 behind one more token (rows,) of every row."""
        scores = torch.empty(len(tokens), self._model.vocabulary)
        held: list[Any] = [tokens, slots, lengths, scores]
        batch = _Batch(
            tokens=_address(tokens),
            slots=_address(slots),
            lengths=_address(lengths),
            scores=_address(scores),
            rows=len(tokens),
        )
        for kind, gain in enumerate(gains or []):
            exact = gain.float().contiguous()
            held.append(exact)
            used = exact.any(0).nonzero()
            batch.gains[kind], batch.gain_strides[kind] = _address(exact), exact.shape[1]
            # Behind the last column that any row takes nothing is read.
            batch.ranks[kind] = int(used[-1]) + 1 if len(used) else 0
        self._function(ctypes.byref(self._model), ctypes.byref(batch), ctypes.c_int64(self._threads()))
        return scores

    def _threads(self) -> int:
        """One alone for small models, and where other programs want the cores.

        Threads wait for each other a few hundred times in a step, and for one that has no core that takes long.
        """
        threads = min(torch.get_num_threads(), max(1, self._bytes // BYTES_FOR_A_THREAD))
        return 1 if os.getloadavg()[0] > threads + OTHER_PROGRAMS else threads


def _layer(model: LeanModel, memory: Memory, number: int) -> _Layer:
    weights = model.layers.weights
    return _Layer(
        qkv=_linear(weights.qkv, number),
        out=_linear(weights.out, number),
        gate_up=_linear(weights.gate_up, number),
        down=_linear(weights.down, number),
        first_norm=_address(weights.first_norm[number]),
        second_norm=_address(weights.second_norm[number]),
        query_norm=None if weights.query_norm is None else _address(weights.query_norm[number]),
        key_norm=None if weights.key_norm is None else _address(weights.key_norm[number]),
        keys=_address(memory.keys[number]),
        values=_address(memory.values[number]),
        turns=weights.turns[number],
    )


def _linear(linear: AdaptedLinear, layer: int) -> _Linear:
    matrix, bias = linear.of(layer)
    return _Linear(
        matrix=_address(matrix),
        bias=None if bias is None else _address(bias),
        outputs=linear.outputs,
        inputs=linear.inputs,
        stride=matrix.stride(0),
    )


def _address(values: Tensor) -> int:
    assert values.is_contiguous()
    return values.data_ptr()
