"""The fast path computes what transformers and PEFT compute, whatever stands in a batch."""

from __future__ import annotations

import copy
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from jobs.generation import lean
from jobs.generation.adapter_files import read_changes
from jobs.generation.fast import FastModel
from jobs.generation.kernels import compiled
from jobs.generation.lean import answers
from jobs.generation.memory import Memory
from jobs.training.adapted_linear import AdaptedLinear
from jobs.training.lean_model import unsupported
from storage.errors import StudioError
from tests.jobs.training.lean_cases import CPU, KINDS, adapted, base_of, lean_of

PROMPTS = [[3, 4, 5, 6, 7], [9, 8], [11, 12, 13, 14, 15, 16, 17, 18, 19, 20], [30, 31, 32]]
CLOSE: Any = {"rtol": 1e-5, "atol": 1e-5}


def made(base: Any, folder: Path, seed: int, **kind: Any) -> Path:
    """An adapter folder with random matrices on all linear layers."""
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **kind})
    peft = get_peft_model(copy.deepcopy(base), config)
    torch.manual_seed(seed)
    for name, value in peft.named_parameters():
        if "lora_" in name:
            value.data.normal_(0, 0.1)
    peft.save_pretrained(folder)
    return folder


@pytest.fixture(params=[*KINDS])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fast_with(base: Any, folders: dict[str, Path]) -> FastModel:
    fast = FastModel(copy.deepcopy(base), "cpu")
    for name, folder in folders.items():
        fast.put(name, read_changes(folder, dict(base.named_modules()), "tiny"))
    return fast


@torch.inference_mode()
def scores(fast: FastModel, shares: list[dict[str, float]], texts: list[list[int]]) -> list[torch.Tensor]:
    """What the last token of each text is followed by, the last three having been read one at a time."""
    steps = 3
    rows = fast.begin([text[:-steps] for text in texts], shares, max(map(len, texts)))
    logits = rows.read()
    for at in range(steps):
        rows.go_on(range(len(texts)), [text[at - steps] for text in texts])
        logits = rows.read()
    return list(logits)


def merged(base: Any, folders: dict[str, Path], share: dict[str, float]) -> Any:
    """The base with the sum of an adapter's changes at their strengths, merged by PEFT."""
    model = copy.deepcopy(base)
    for name, strength in share.items():
        peft = PeftModel.from_pretrained(model, folders[name])
        for module in peft.modules():
            if hasattr(module, "set_scale"):
                module.set_scale("default", strength)
        model = peft.merge_and_unload()
    return model.eval()


def test_rows_of_any_mixture_equal_pefts_own(kind: str, tmp_path: Path) -> None:
    base = base_of(kind)
    folders = {
        "plain": made(base, tmp_path / "plain", 1),
        "patterns": made(
            base,
            tmp_path / "patterns",
            2,
            rank_pattern={"layers.1.mlp.down_proj": 7},
            alpha_pattern={"o_proj": 32},
            use_rslora=True,
        ),
    }
    fast = fast_with(base, folders)
    shares = [{}, {"plain": 1.0}, {"patterns": 0.5}, {"plain": 0.7, "patterns": 0.3}]
    texts = [[*prompt, 40, 41, 42] for prompt in PROMPTS]
    got = scores(fast, shares, texts)
    for own, share, text in zip(got, shares, texts, strict=True):
        wanted = merged(base, folders, share)(torch.tensor([text])).logits[0, -1]
        torch.testing.assert_close(own, wanted, **CLOSE)


def test_plain_torch_and_machine_code_agree(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_of(kind)
    folders = {"a": made(base, tmp_path / "a", 1)}
    shares: list[dict[str, float]] = [{}, {"a": 1.0}, {"a": -0.5}, {"a": 1.5}]
    texts = [[*prompt, 40, 41, 42] for prompt in PROMPTS]
    fast = scores(fast_with(base, folders), shares, texts)
    monkeypatch.setattr(compiled, "load", lambda _: None)
    for own, other in zip(fast, scores(fast_with(base, folders), shares, texts), strict=True):
        torch.testing.assert_close(own, other, **CLOSE)


def test_a_large_adapter_makes_room_and_one_taken_off_leaves_it(tmp_path: Path) -> None:
    base = base_of()
    folders = {"small": made(base, tmp_path / "s", 1), "large": made(base, tmp_path / "l", 2, r=90)}
    fast = fast_with(base, folders)
    texts = [[*prompt, 40, 41, 42] for prompt in PROMPTS[:2]]
    before = scores(fast, [{"small": 1.0}, {"large": 1.0}], texts)
    torch.testing.assert_close(
        before[1], merged(base, folders, {"large": 1.0})(torch.tensor([texts[1]])).logits[0, -1], **CLOSE
    )
    fast.remove("large")
    fast.put("other", read_changes(made(base, tmp_path / "o", 3), dict(base.named_modules()), "tiny"))
    after = scores(fast, [{"small": 1.0}, {}], texts)
    torch.testing.assert_close(after[0], before[0], **CLOSE)
    torch.testing.assert_close(after[1], base(torch.tensor([texts[1]])).logits[0, -1], **CLOSE)


def test_the_usual_adapters_have_room_and_only_more_of_them_move_the_model(tmp_path: Path) -> None:
    base = base_of()
    fast = fast_with(base, {})
    changes = read_changes(made(base, tmp_path / "a", 1, r=16), dict(base.named_modules()), "tiny")

    def matrices() -> list[torch.Tensor]:
        return [linear.of(0)[0] for linear in fast._linears.values()]

    def places_of(found: list[torch.Tensor]) -> set[int]:
        return {matrix.data_ptr() for matrix in found}

    # Held on to: a place that is let go of may be given to the next matrix.
    before = matrices()
    for name in "abcd":
        fast.put(name, changes)
    columns = fast._columns["b"]
    fast.remove("b")
    fast.put("b", changes)
    assert places_of(matrices()) == places_of(before) and fast._columns["b"] == columns, (
        "a gap is filled to its last column"
    )
    fast.put("e", changes)
    assert not places_of(matrices()) & places_of(before)
    own = fast._blocks[0].get_submodule("mlp.down_proj").weight
    assert own.untyped_storage().data_ptr() in {
        linear.of(0)[0].untyped_storage().data_ptr() for linear in fast._linears.values()
    }, "the model is in memory once"
    assert fast.most_rows(10**12) == 1


def test_an_adapter_for_which_there_is_no_room_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room is made for the first matrices, and not for the others."""
    base = base_of()
    folders = {"small": made(base, tmp_path / "s", 1), "large": made(base, tmp_path / "l", 2, r=90)}
    fast = fast_with(base, {"small": folders["small"]})
    texts = [[*prompt, 40, 41, 42] for prompt in PROMPTS[:1]]
    before = scores(fast, [{"small": 1.0}], texts)
    widen, widened = AdaptedLinear.widen, []

    def no_room_for_the_third(linear: AdaptedLinear, rank: int) -> None:
        if len(widened) == 2:
            raise torch.OutOfMemoryError("out of memory")
        widened.append(linear)
        widen(linear, rank)

    changes = read_changes(folders["large"], dict(base.named_modules()), "tiny")
    with monkeypatch.context() as patched:
        patched.setattr(AdaptedLinear, "widen", no_room_for_the_third)
        with pytest.raises(torch.OutOfMemoryError):
            fast.put("large", changes)
    for linear in widened:
        assert not linear.of(0)[0][linear.outputs + 64 :].any(), "what was laid out is taken away"
    torch.testing.assert_close(scores(fast, [{"small": 1.0}], texts)[0], before[0], **CLOSE)
    fast.put("large", changes)
    wanted = merged(base, folders, {"large": 1.0})(torch.tensor(texts)).logits[0, -1]
    torch.testing.assert_close(scores(fast, [{"large": 1.0}], texts)[0], wanted, **CLOSE)


def test_the_memory_of_a_smaller_batch_is_gone_before_a_larger_one_gets_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = fast_with(base_of(), {})
    scores(fast, [{}], [[*PROMPTS[0], 40, 41, 42]])
    assert fast._memory is not None
    before, made_anew = weakref.ref(fast._memory.keys), Memory.of

    def of(*sizes: Any) -> Memory:
        assert before() is None
        return made_anew(*sizes)

    monkeypatch.setattr(Memory, "of", of)
    scores(fast, [{}] * 2, [[*prompt, 40, 41, 42] for prompt in PROMPTS[:2]])
    assert before() is None and fast._memory.slots == 3


def test_a_batch_of_about_the_same_size_takes_the_memory_and_the_step_of_the_one_before() -> None:
    """What is compiled or recorded for a memory is not made again."""
    fast = fast_with(base_of(), {})
    first = fast.begin(PROMPTS, [{}] * 4, 20)
    second = fast.begin(PROMPTS[:2], [{}] * 2, 64)
    assert second._memory is first._memory and second._step is first._step
    third = fast.begin(PROMPTS, [{}] * 4, 70)
    assert third._memory is not first._memory and third._step is not first._step


@torch.inference_mode()
def test_texts_are_read_some_at_a_time_and_each_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "READ_TOKENS_CPU", 10)
    base = base_of()
    reader = fast_with(base, {}).reader
    texts = [[3 + place] * length for place, length in enumerate([2, 12, 5, 5, 3, 1])]
    between: list[int] = []
    found: list[int] = []
    for place, hidden in reader.read(texts, None, should_stop=lambda: between.append(len(found)) or False):  # type: ignore
        found.append(place)
        torch.testing.assert_close(
            reader.logits(hidden), base(torch.tensor([texts[place]])).logits[0], **CLOSE
        )
    assert found == [1, 2, 3, 4, 0, 5] and between == [1, 3], "12 alone, 5 and 5, then the rest"
    assert [len(hidden) for _, hidden in reader.read([[3] * 13], None)] == [13], "longer than any before"


def test_rows_that_leave_change_nothing_for_the_others(tmp_path: Path) -> None:
    base = base_of()
    fast = fast_with(base, {"a": made(base, tmp_path / "a", 1)})
    shares: list[dict[str, float]] = [{}, {"a": 1.0}, {"a": 0.5}, {}]
    with torch.inference_mode():
        rows = fast.begin(PROMPTS, shares, 14)
        rows.read()
        rows.go_on([1, 3], [50, 51])
        rows.read()
        rows.go_on([1], [52])
        left = rows.read()[0]
        torch.testing.assert_close(left, base(torch.tensor([[*PROMPTS[3], 51, 52]])).logits[0, -1], **CLOSE)


def test_a_model_in_training_answers_and_learns_on_as_if_it_had_not() -> None:
    peft = adapted(base_of(), {}, {"r": 2})
    engine = lean_of(peft)
    stop = frozenset({2})
    before = [linear.of(0)[0].clone() for linear in engine.model.linears]
    base = answers(engine.model, PROMPTS, None, 6, stop)
    first = answers(engine.model, PROMPTS, [[1.0, 0.0]] * 4, 6, stop)
    second = answers(engine.model, PROMPTS, [[0.0, 1.0]] * 4, 6, stop)
    assert base != first != second != base
    for linear, matrix in zip(engine.model.linears, before, strict=True):
        assert torch.equal(linear.of(0)[0], matrix)
    for name, got in (("default", first), (sorted(peft.peft_config)[-1], second)):
        peft.set_adapter(name)
        for prompt, own in zip(PROMPTS, got, strict=True):
            ids = torch.tensor([prompt])
            whole = peft.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=6,
                do_sample=False,
                eos_token_id=2,
            )
            assert own == [token for token in whole[0, len(prompt) :].tolist() if token != 2]


@pytest.mark.parametrize(
    ("setting", "named"), [({"peft_type": "LOHA"}, "LOHA"), ({"lora_bias": True}, "lora_bias")]
)
def test_what_computes_something_else_from_its_matrices_is_refused_by_name(
    tmp_path: Path, setting: dict[str, Any], named: str
) -> None:
    base = base_of()
    file = made(base, tmp_path / "odd", 1) / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **setting}))
    with pytest.raises(StudioError, match=f"of a kind that is not known here: {named}"):
        read_changes(file.parent, dict(base.named_modules()), "tiny")


def test_an_answer_that_ends_early_leaves_the_others_their_own() -> None:
    model = lean_of(adapted(base_of(), {})).model
    whole = answers(model, PROMPTS, None, 6, frozenset())
    stop = whole[0][1]
    cut = [one[: one.index(stop)] if stop in one else one for one in whole]
    assert len({len(one) for one in cut}) > 1, "otherwise nothing ends early"
    assert answers(model, PROMPTS, None, 6, frozenset({stop})) == cut
    stopped = answers(model, PROMPTS, None, 6, frozenset(), lambda: True)
    assert stopped == [one[:1] for one in whole]


def test_a_model_that_only_answers_needs_no_adapters_to_be_known() -> None:
    assert unsupported(base_of(), [], 64) is None
    assert CPU.type == "cpu"
