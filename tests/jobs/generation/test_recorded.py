"""What is recorded on a GPU as one more token of every row computes what plain torch computes.

Triton interprets where no GPU is: this file as a script.
Recording itself needs a GPU: `python -m tests.benchmarks.generation` compares recorded steps with PEFT's scores.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from tests.jobs.interpreting import NEEDS_TRITON, interpreted, let_lengths_bound_loops
from tests.jobs.training.lean_cases import base_of

pytestmark = NEEDS_TRITON

# Biases, norms of heads, layers without turns; of two layers, as interpreting takes its time.
CASES: dict[str, dict[str, Any]] = {
    "llama with biases": {},
    "qwen3": {},
    "smollm3": {"no_rope_layers": [1, 0]},
}
PROMPTS = [[3, 4, 5, 6, 7], [9, 8], [11, 12, 13, 14, 15, 16, 17, 18, 19, 20]]


def test_a_step_with_and_without_adapters_computes_what_plain_torch_computes() -> None:
    errors: dict[str, float] = interpreted(__name__)
    wrong = {case: error for case, error in errors.items() if not error < 1e-5}
    assert not wrong and len(errors) == 4 * len(CASES)


@torch.inference_mode()
def _measure() -> dict[str, float]:
    from jobs.generation import fast as fast_path
    from jobs.generation.adapter_files import Change
    from jobs.generation.fast import FastModel
    from jobs.generation.memory import Memory
    from jobs.generation.recorded import RecordedStep

    let_lengths_bound_loops()
    fast_path.USUAL_RANK, fast_path.USUAL_ADAPTERS = 4, 1
    found = {}
    for kind, options in CASES.items():
        base = base_of(kind, num_hidden_layers=2, **options)
        fast = FastModel(base, "cpu")
        torch.manual_seed(1)
        changes = {
            path: Change(
                torch.randn(4, part.in_features) / 4, torch.randn(part.out_features, 4) / 9, 2.0, None
            )
            for path, part in base.named_modules()
            if isinstance(part, torch.nn.Linear) and path.endswith("_proj")
        }
        fast.put("a", changes)
        lengths = torch.tensor([len(prompt) for prompt in PROMPTS])
        tokens, slots = torch.tensor([40, 41, 42]), torch.arange(3)
        for name, shares in (("base", [{}] * 3), ("adapters", [{}, {"a": 1.0}, {"a": -0.5}])):
            gains = fast.gains(shares)
            # One slot more than rows: for those that fill up.
            memory = Memory.of(fast.reader.model.layers.sizes, fast.reader.model.count, 4, 64, torch.empty(0))
            list(fast.reader.read(PROMPTS, gains, memory, range(3)))
            other = Memory(memory.keys.clone(), memory.values.clone())
            got = RecordedStep(fast.reader, memory)._step(tokens, slots, lengths, gains)
            wanted = fast.reader.step(tokens, other, slots, lengths, gains)
            found[f"{kind}, {name}"] = float((got - wanted).norm() / wanted.norm())
            kept, own = torch.stack([memory.keys, memory.values]), torch.stack([other.keys, other.values])
            found[f"{kind}, {name}: kept"] = float((kept - own).norm() / own.norm())
    return found


if __name__ == "__main__":
    print(json.dumps(_measure()))
