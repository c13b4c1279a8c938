"""How fast ours and the peers train, how much memory they take, and how near the hardware's limit they come.

    python -m tests.benchmarks.training --device cuda --models 135m,0.6b,8b
    python -m tests.benchmarks.training --device cpu --models 135m --ours ours,ours_fp32 --peers naive_fp32,naive_bf16

Models have real shapes and random weights; adapters are on all seven linear layers. Each contestant has a
process of its own. On a GPU they follow one another; on a CPU those who go step by step take turns, so that
a busy moment of the machine meets them all. Time to the first step counts from weights in memory and
libraries imported.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks.training.cases import (
    DEFAULT_OURS,
    DEFAULT_PEERS,
    FROM_FOLDER,
    ON_A_GPU,
    OURS,
    PEERS,
    Case,
    setups,
)
from tests.benchmarks.training.runner import Runner

TOKENS_PER_STEP = {"cuda": 16_384, "cpu": 1_600}


def main() -> None:
    """Measure from the command line."""
    parser = _parser()
    arguments = parser.parse_args()
    kind = arguments.device.split(":")[0]
    who = _names(arguments.ours, DEFAULT_OURS[kind], OURS, parser)
    who += _names(arguments.peers, DEFAULT_PEERS[kind], PEERS, parser)
    gpu_only = [name for name in who if name in ON_A_GPU]
    if arguments.data and not arguments.tokenizer:
        parser.error("--data needs --tokenizer: a model folder whose tokens the rows become")
    if kind == "cpu" and gpu_only:
        parser.error(f"{', '.join(gpu_only)} can only be measured on a GPU")
    if "ours_small" in who and arguments.leave_gib is None:
        parser.error("ours_small needs --leave-gib: how much memory it may use")
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(arguments.device, arguments.logs or Path(folder) / "logs")
        limit = runner.limit()
        for model in arguments.models.split(","):
            saved = None
            if set(who) & set(FROM_FOLDER) and find_spec("unsloth"):
                saved = runner.save(model, Path(folder) / model)
            cases = [_case(name, model, arguments, limit, saved) for name in who]
            runner.measure([setups(case) for case in cases], in_turns=kind == "cpu")
            runner.compare(model)
        runner.table()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--models", default="135m", help="of tiny, 135m, 0.6b, 8b, with commas between")
    parser.add_argument("--ours", help=f"of {', '.join(OURS)}; “none” for peers alone")
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)}; “none” for ours alone")
    parser.add_argument("--data", type=Path, help="Alpaca list (default: made-up rows of its lengths)")
    parser.add_argument("--tokenizer", type=Path, help="model folder whose tokens --data becomes")
    parser.add_argument("--steps", type=int, default=20, help="steady steps (on a CPU: in every round)")
    parser.add_argument("--warm-up", type=int, default=4, help="steps behind the first that do not count")
    parser.add_argument("--rounds", type=int, default=5, help="turns on a CPU")
    parser.add_argument("--seconds-per-case", type=float, default=120.0, help="longest time of a case")
    parser.add_argument("--tokens-per-step", type=int, help="of those who go step by step")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--leave-gib", type=float, help="memory that ours_small may use")
    parser.add_argument("--profile", action="store_true", help="print what takes our time, kernel by kernel")
    parser.add_argument("--logs", type=Path, help="folder for what the contestants print")
    return parser


def _case(
    who: str, model: str, arguments: argparse.Namespace, limit: float | None, saved: Path | None
) -> Case:
    kind = arguments.device.split(":")[0]
    return Case(
        who=who,
        model=model,
        device=arguments.device,
        steps=arguments.steps,
        warm_up=arguments.warm_up,
        rounds=arguments.rounds if kind == "cpu" else 1,
        seconds=arguments.seconds_per_case,
        tokens_per_step=arguments.tokens_per_step or TOKENS_PER_STEP[kind],
        ranks=(arguments.rank,),
        data=str(arguments.data) if arguments.data else None,
        tokenizer=str(arguments.tokenizer) if arguments.tokenizer else None,
        folder=str(saved) if saved else None,
        leave_gib=arguments.leave_gib if who == "ours_small" else None,
        profile=arguments.profile and who in OURS,
        limit_flops=limit,
    )


def _names(
    text: str | None, default: tuple[str, ...], known: tuple[str, ...], parser: argparse.ArgumentParser
) -> list[str]:
    """The contestants that an argument names."""
    if text is None:
        return list(default)
    names = [] if text == "none" else text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; known are {', '.join(known)}")
    return names


if __name__ == "__main__":
    main()
