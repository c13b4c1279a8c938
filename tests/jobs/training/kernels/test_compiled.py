"""The machine code computes what plain torch computes, the same every time, and can be done without."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from jobs.training import kernels
from jobs.training.kernels import compiled, portable
from tests.jobs.training.kernels.cases import cases, error

# Sums are taken in another order, and a product may be rounded to the next bf16.
CLOSE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}
CPU = torch.device("cpu")

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")


def _forget() -> None:
    for kept in (compiled.load, compiled._library, compiled._function):
        kept.cache_clear()


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing is compiled yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _forget()
    yield tmp_path
    _forget()


@needs_compiler
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", cases(torch.float32))
def test_computes_what_plain_torch_computes(name: str, dtype: torch.dtype) -> None:
    assert compiled.load() is None
    case = cases(dtype)[name]
    assert error(case(compiled), case(portable)) < CLOSE[dtype]


@needs_compiler
def test_does_not_depend_on_the_number_of_threads() -> None:
    assert compiled.load() is None
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append([r for case in cases(torch.float32).values() for r in case(compiled)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@needs_compiler
def test_bf16_is_rounded_as_torch_rounds() -> None:
    assert compiled.load() is None
    one, other = (torch.randn(64, 64).bfloat16() for _ in range(2))
    total, _, _ = compiled.add_norm(one, other, torch.ones(64).bfloat16(), 1e-5, 0)
    assert torch.equal(total, one + other)


@needs_compiler
def test_extreme_scores() -> None:
    assert compiled.load() is None
    scores = torch.tensor([[-1e4, 1e4, 0.0], [float("nan"), 0.0, 1.0], [90.0, -200.0, 90.0]])
    losses = compiled.cross_entropy_(scores, torch.tensor([1, 0, 0]), torch.ones(3))
    assert losses[0] == 0
    # A run that has gone wrong has to be seen as such.
    assert losses[1].isnan() and scores[1].isnan().all()
    torch.testing.assert_close(losses[2], torch.tensor(2.0).log())
    gate_up = torch.tensor([[-200.0, 200.0, 1.0, 1.0]])
    torch.testing.assert_close(compiled.swiglu(gate_up, 0), torch.tensor([[0.0, 200.0]]))


@needs_compiler
def test_is_compiled_once(fresh: Path) -> None:
    assert kernels.for_device(CPU) is compiled
    assert compiled.compile_seconds() is not None
    assert "compiled in" in kernels.words_on_processor()
    [built] = (fresh / "lora-tailor").iterdir()
    _forget()
    assert kernels.for_device(CPU) is compiled
    assert compiled.compile_seconds() is None
    assert list((fresh / "lora-tailor").iterdir()) == [built]


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_plain_torch_computes(
    compiler: str, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", compiler)
    assert kernels.for_device(CPU) is portable
    assert "plain torch" in kernels.words_on_processor()
