"""A training step as one recorded CUDA graph: the host says "again" instead of launching a thousand kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from jobs.training.packing import Layout, Pack

T = TypeVar("T")


def recorded(function: Callable[[], T]) -> tuple[torch.cuda.CUDAGraph, T]:
    """A graph that does what `function` does, and the result that it fills anew each time."""
    # The first call chooses kernels and compiles them, which cannot be recorded.
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        function()
    torch.cuda.current_stream().wait_stream(beside)
    torch.cuda.synchronize()
    # What that call held would be held twice.
    torch.cuda.empty_cache()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()
    return graph, result


class Recording:
    """A function of packs of one shape, recorded once and replayed for others of that shape."""

    def __init__(self, function: Callable[[Pack], Tensor], pack: Pack, changed: Tensor) -> None:
        """Record `function`; nothing but its result and `changed` may differ from call to call.

        Args:
            changed: what the function adds to; as it was, afterwards.
        """
        self._pack = _copied(pack)
        before = changed.clone()
        self._graph, self._result = recorded(lambda: function(self._pack))
        changed.copy_(before)

    def fits(self, pack: Pack) -> bool:
        """Whether the pack has the recorded shape."""
        own, other = _tensors(self._pack), _tensors(pack)
        return (
            own.keys() == other.keys()
            and all(own[name].shape == other[name].shape for name in own)
            and pack.layout.longest_query == self._pack.layout.longest_query
            and pack.layout.longest_key == self._pack.layout.longest_key
        )

    def replay(self, pack: Pack) -> Tensor:
        """The function's result for a pack that fits; overwritten by the next call."""
        own, other = _tensors(self._pack), _tensors(pack)
        torch._foreach_copy_(list(own.values()), list(other.values()), non_blocking=True)
        self._graph.replay()
        return self._result


def _tensors(pack: Pack) -> dict[str, Tensor]:
    return dict(_named(pack)) | dict(_named(pack.layout))


def _named(part: Pack | Layout) -> Iterator[tuple[str, Tensor]]:
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, Tensor):
            yield field.name, value


def _copied(pack: Pack) -> Pack:
    inside: dict[str, Any] = {name: value.clone() for name, value in _named(pack.layout)}
    outside: dict[str, Any] = {name: value.clone() for name, value in _named(pack)}
    return replace(pack, **outside, layout=replace(pack.layout, **inside))
