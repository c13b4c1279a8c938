"""Time of a token: base model alone, base and three adapters together, and PEFT's two ways of doing the same.

    python -m tests.benchmarks.generation --model FOLDER --device cpu
    python -m tests.benchmarks.generation --shape 135m --device cuda

Every round measures all ways in turn, so that a busy machine is busy for all of them; reported are medians over
the rounds, and medians of the rounds' own ratios. One JSON line for each.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from jobs.generation.adapter_files import Change
from jobs.generation.base import load_base, number_format
from jobs.generation.fast import FastModel
from tests.benchmarks.training.shapes import LINEARS, random_model

ADAPTERS = ("one", "two", "three")
# Reads one token more of every row, given the chosen ones; the first time it reads the prompts.
Way = Callable[[], Callable[[list[int] | None], torch.Tensor]]


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.manual_seed(0)
    if options.threads:
        torch.set_num_threads(options.threads)
    dtype = number_format(options.device, options.precision)
    if options.model:
        base = load_base(options.model, options.device, options.precision)
    else:
        base = random_model(options.shape, options.device, dtype).requires_grad_(False).eval()
    conditions = {
        "model": options.shape or options.model.name, "format": str(dtype).removeprefix("torch."),
        "rank": options.rank, "prompt_tokens": options.prompt, "new_tokens": options.tokens,
        "rounds": options.rounds, "threads": torch.get_num_threads(),
    }  # fmt: skip
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    ways = _ways(base, options)
    _compare(ways, options, device, conditions)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds + 1):
        for name, way in ways.items():
            seconds = _token_seconds(way, options.tokens)
            if number:  # the first one compiles and records
                times[name].append(seconds)
    for name, measured in times.items():
        _say(f"{name}: time of a token", device, statistics.median(measured) * 1e3, "ms", conditions)
        alone = [one / base_only for one, base_only in zip(measured, times["base alone"], strict=True)]
        _say(f"{name}: against base alone", device, statistics.median(alone), "times", conditions)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder, or:")
    parser.add_argument("--shape", help="random weights of a real shape: tiny, 135m, 0.6b, 8b")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=64, help="tokens")
    parser.add_argument("--tokens", type=int, default=48, help="new tokens of an answer")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--without-peft", action="store_true")
    return parser.parse_args()


def _ways(base: Any, options: argparse.Namespace) -> dict[str, Way]:
    peers = None if options.without_peft else copy.deepcopy(base)
    changes = {name: _changes(base, options.rank) for name in ADAPTERS}
    prompt = torch.randint(10, base.config.vocab_size - 10, (options.prompt,)).tolist()
    fast = FastModel(base, options.device)
    for name, change in changes.items():
        fast.put(name, change)
    together = [{}, *({name: 1.0} for name in ADAPTERS)]
    ways: dict[str, Way] = {
        "base alone": _ours(fast, [prompt], [{}], options.tokens),
        "base and 3 adapters": _ours(fast, [prompt] * 4, together, options.tokens),
        "base four times": _ours(fast, [prompt] * 4, [{}] * 4, options.tokens),
    }
    if peers is not None:
        peft = _peft(peers, changes, options.rank)
        ways["PEFT, base alone"] = _transformers(peft, [prompt], ["__base__"])
        ways["PEFT, mixed batch"] = _transformers(peft, [prompt] * 4, ["__base__", *ADAPTERS])
        ways["PEFT, one after the other"] = _one_after_the_other(peft, prompt)
    return ways


def _changes(base: Any, rank: int) -> dict[str, Change]:
    """Random matrices for all linear layers."""
    return {
        path: Change(
            torch.randn(rank, module.in_features, device=module.weight.device).to(module.weight) / rank,
            torch.randn(module.out_features, rank, device=module.weight.device).to(module.weight) * 0.01,
            2.0,
            None,
        )
        for path, module in base.named_modules()
        if path.rpartition(".")[2] in LINEARS
    }


def _ours(fast: FastModel, prompts: list[list[int]], shares: list[Any], tokens: int) -> Way:
    def begin() -> Callable[[list[int] | None], torch.Tensor]:
        rows = fast.begin(prompts, shares, max(map(len, prompts)) + tokens)

        def read(chosen: list[int] | None) -> torch.Tensor:
            if chosen is not None:
                rows.go_on(range(len(prompts)), chosen)
            return rows.read()

        return read

    return begin


def _peft(base: Any, changes: Mapping[str, Mapping[str, Change]], rank: int) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LINEARS)
    peft = get_peft_model(base, config, adapter_name=ADAPTERS[0], autocast_adapter_dtype=False)
    for name in ADAPTERS[1:]:
        peft.add_adapter(name, config)
    for name, own in changes.items():
        for path, change in own.items():
            layer = peft.base_model.model.get_submodule(path)
            layer.lora_A[name].weight.data.copy_(change.a)
            layer.lora_B[name].weight.data.copy_(change.b)
    return peft.to(base.dtype).eval()


def _transformers(peft: Any, prompts: list[list[int]], names: list[str]) -> Way:
    def begin() -> Callable[[list[int] | None], torch.Tensor]:
        cache: Any = None

        def read(chosen: list[int] | None) -> torch.Tensor:
            nonlocal cache
            ids = prompts if chosen is None else [[token] for token in chosen]
            output = peft(
                input_ids=torch.tensor(ids, device=peft.device), past_key_values=cache, use_cache=True,
                logits_to_keep=1, adapter_names=names,
            )  # fmt: skip
            cache = output.past_key_values
            logits: torch.Tensor = output.logits[:, -1].float()
            return logits

        return read

    return begin


def _one_after_the_other(peft: Any, prompt: list[int]) -> Way:
    """Each side alone; a token's time is that of all four, as people wait for all of them."""
    alone = [_transformers(peft, [prompt], [name]) for name in ("__base__", *ADAPTERS)]

    def begin() -> Callable[[list[int] | None], torch.Tensor]:
        reads = [way() for way in alone]

        def read(chosen: list[int] | None) -> torch.Tensor:
            parts = [read(None if chosen is None else [chosen[i]]) for i, read in enumerate(reads)]
            return torch.cat(parts)

        return read

    return begin


@torch.inference_mode()
def _token_seconds(way: Way, tokens: int) -> float:
    """The median time of a token behind the prompt, from choosing one to having chosen the next."""
    read = way()
    chosen, times = read(None).argmax(-1).tolist(), []
    for _ in range(tokens - 1):
        began = time.perf_counter()
        chosen = read(chosen).argmax(-1).tolist()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


@torch.inference_mode()
def _compare(ways: Mapping[str, Way], options: argparse.Namespace, device: str, conditions: Any) -> None:
    """How far our scores are from PEFT's for the same tokens, over all steps."""
    if "PEFT, mixed batch" not in ways:
        return
    ours, theirs = ways["base and 3 adapters"](), ways["PEFT, mixed batch"]()
    chosen: list[int] | None = None
    worst = 0.0
    for _ in range(min(16, options.tokens)):
        one, other = ours(chosen), theirs(chosen)
        worst = max(worst, float((one - other).norm() / other.norm()))
        chosen = other.argmax(-1).tolist()
    _say("scores: relative difference to PEFT's", device, worst, "share", conditions)


def _say(what: str, device: str, value: float, unit: str, conditions: Mapping[str, Any]) -> None:
    line = {"what": what, "device": device, "value": round(value, 8), "unit": unit, "conditions": conditions}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
