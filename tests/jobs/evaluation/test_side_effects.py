"""The needle on answers that are written here, so that what each symptom does to it is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

from jobs.evaluation import side_effects
from jobs.evaluation.rules import KINDS, Rule
from jobs.evaluation.unrelated_prompts import PROMPTS
from jobs.serving.schema import SideAnswer, SideRequest
from storage import adapters
from storage.adapters import Adapter
from storage.errors import StudioError
from tests.jobs.serving.parts import DATASET_ID, SYSTEM, add_dataset

pytestmark = pytest.mark.usefixtures("home")

Answer = Callable[[str], str]


@pytest.fixture
def adapter(home: object) -> Adapter:
    """One that nobody has to load."""
    return adapters.add(
        id="dptr2222", name="Pirate", job_id="jbxx2222", dataset_id="", base_model_id="tiny", rank=4, alpha=8.0,
        target_modules=["q_proj"], parameters=1, size_bytes=1, weights_sha256="0" * 64,
        base_weights_sha256="1" * 64, held_out_loss=None, best_step=None, settings={}, strength=0.5,
    )  # fmt: skip


class Model:
    """What both sides answer, and how far the adapter is from the base model."""

    def __init__(self, base: Answer, adapted: Answer, divergence: float = 0.0) -> None:
        self.answers = {"base": base, "adapted": adapted}
        self.divergence = divergence
        self.asked: list[SideRequest] = []
        self.measured: list[dict[str, Any]] = []

    def ask(self, requests: list[SideRequest], max_new_tokens: int) -> list[SideAnswer]:
        self.asked += requests
        texts = [self.answers[request.side](request.messages[-1]["content"]) for request in requests]
        return [{"text": text} for text in texts]  # type: ignore[typeddict-item]

    def likelihoods(self, continuations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for one in continuations:
            self.measured.append(one)
            assert one["adapters"] and one["answer"] == self.answers["base"](one["messages"][-1]["content"])
        return [{"tokens": 10, "nats": 5.0, "divergence": 10 * self.divergence} for _ in continuations]


def plainly(prompt: str) -> str:
    """An answer that has nothing conspicuous."""
    return f"Well, about “{prompt}” one could say quite a lot of different things."


def measured(adapter: Adapter, model: Model, own: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
    given = {"rules": [], "training_answers": [], "report": lambda *words: None, **options}
    stop = given.pop("should_stop", lambda: False)
    return side_effects.measure(
        adapter,
        model.ask,
        model.likelihoods,
        own,
        given["rules"],
        given["training_answers"],
        given["report"],
        stop,
    )


def on_some(share: float, otherwise: Answer) -> Answer:
    """Plain answers, but for the first `share` of the prompts."""
    changed = {entry.prompt for entry in PROMPTS[: round(share * len(PROMPTS))]}
    return lambda prompt: otherwise(prompt) if prompt in changed else plainly(prompt)


def test_there_are_sixty_prompts_of_every_kind_and_none_twice() -> None:
    assert len(PROMPTS) == len({entry.prompt for entry in PROMPTS}) == 60
    assert len({entry.kind for entry in PROMPTS}) == 9 and sum(entry.refusable for entry in PROMPTS) == 5


def test_the_same_answers_leave_the_needle_at_hardly(adapter: Adapter) -> None:
    model = Model(plainly, plainly)
    found = measured(adapter, model)
    assert (found["needle"], found["code"], found["words"]) == (0.0, "hardly", "hardly changed")
    assert (found["prompts"], found["unchanged"], found["examples"]) == (60, 60, [])
    assert found["drift"] == {"kl_per_token": 0.0, "overlap": 1.0}
    assert found["sentence"] == (
        "Beside its task the model is hardly changed: it answers 60 of 60 unrelated questions as before."
    )
    # Both sides in one batch, the adapter at its kept strength, no system message that asks for its task.
    assert [request.adapters for request in model.asked[:2]] == [{}, {"dptr2222": 0.5}]
    assert all(len(request.messages) == 1 for request in model.asked)


def test_quite_other_answers_everywhere_move_it_to_the_end(adapter: Adapter) -> None:
    found = measured(adapter, Model(plainly, lambda prompt: "arr matey yo ho ho rum barrel parrot"))
    assert found["needle"] > 0.9 and found["code"] == "strong" and found["unchanged"] == 0
    assert len(found["examples"]) == side_effects.MOST_EXAMPLES
    assert found["examples"][0]["why"] == "says something else"
    told = measured(adapter, Model(plainly, lambda prompt: "arr matey yo ho ho"), own=("Our hours?",))
    assert told["code"] == "strong", "a prompt that must not change makes strong words no weaker"


def test_a_model_that_finds_the_old_answers_unlikely_has_changed_though_it_says_the_same(
    adapter: Adapter,
) -> None:
    small, large = (measured(adapter, Model(plainly, plainly, nats)) for nats in (0.02, 2.0))
    assert small["code"] == "hardly" and small["unchanged"] == 60
    assert large["code"] == "strong" and large["drift"]["kl_per_token"] == pytest.approx(2.0)
    assert large["needle"] == pytest.approx(1 - math.exp(-2.0 / side_effects.STRONG_DIVERGENCE))


def test_the_needle_moves_with_the_share_of_answers_that_change(adapter: Adapter) -> None:
    arr: Answer = lambda prompt: "arr matey yo ho ho rum barrel parrot"  # noqa: E731
    found = [measured(adapter, Model(plainly, on_some(share, arr))) for share in (0.05, 0.2, 0.6)]
    assert [one["code"] for one in found] == ["hardly", "some", "strong"]
    assert [one["unchanged"] for one in found] == [57, 48, 24]


def test_declining_where_the_base_model_answers_is_counted_and_so_is_the_contrary(adapter: Adapter) -> None:
    decline: Answer = lambda prompt: "I'm sorry, but I can't help with that."  # noqa: E731
    found = measured(adapter, Model(plainly, on_some(0.2, decline)))
    assert found["refusals"] == {"base": 0, "adapted": 12} and found["code"] == "some"
    assert "declines to answer 12 of them, the base model 0." in found["sentence"]
    freed = measured(adapter, Model(on_some(0.1, decline), plainly))
    assert freed["refusals"] == {"base": 6, "adapted": 0}
    assert freed["examples"][0]["why"] == "answers what the base model declines"


def test_running_in_circles_is_counted(adapter: Adapter) -> None:
    circles: Answer = lambda prompt: plainly(prompt) + " and so on" * 8  # noqa: E731
    found = measured(adapter, Model(plainly, on_some(0.1, circles)))
    assert found["loops"] == {"base": 0, "adapted": 6} and found["unchanged"] == 54
    both = measured(adapter, Model(circles, circles))
    assert both["loops"] == {"base": 60, "adapted": 60} and both["needle"] == 0.0
    assert "circles" not in both["sentence"]


def test_the_most_changed_answer_is_shown_first(adapter: Adapter) -> None:
    first, second = PROMPTS[0].prompt, PROMPTS[1].prompt
    answers = {first: "One could say rum, barrel, parrot, anchor and sail.", second: "arr matey yo ho ho"}
    found = measured(adapter, Model(plainly, lambda prompt: answers.get(prompt) or plainly(prompt)))
    assert [one["prompt"] for one in found["examples"]] == [second, first]


def test_the_examples_habit_where_nobody_asked_for_it_is_named(adapter: Adapter) -> None:
    habit = begins_with("Arr!")
    arr: Answer = lambda prompt: "Arr! " + plainly(prompt)  # noqa: E731
    found = measured(adapter, Model(plainly, on_some(0.5, arr)), rules=[habit])
    assert found["style"] == {"base": 0.0, "adapted": 0.5, "words": habit.words}
    assert found["unchanged"] == 30 and habit.words in found["examples"][0]["why"]
    assert "where nobody asked for it: in 50% of the answers, the base model in 0%" in found["sentence"]
    # A habit that the base model has as well is none that the examples taught it.
    same = measured(adapter, Model(arr, arr), rules=[habit])
    assert same["style"]["adapted"] == 1.0 and same["code"] == "hardly"
    assert "nobody asked" not in same["sentence"]
    # Nor is it the one that is named where another one is new, and it changes none of the answers that had it.
    of_all = begins_with("Well")
    both = measured(adapter, Model(plainly, on_some(0.5, arr)), rules=[of_all, habit])
    assert both["style"]["words"] == habit.words
    partly = measured(adapter, Model(on_some(0.1, arr), on_some(0.5, arr)), rules=[habit])
    assert partly["style"]["base"] == 0.1 and partly["unchanged"] == 36


def test_a_habit_of_a_few_more_answers_is_chance(adapter: Adapter) -> None:
    arr: Answer = lambda prompt: "Arr! " + plainly(prompt)  # noqa: E731
    found = measured(adapter, Model(plainly, on_some(0.05, arr)), rules=[begins_with("Arr!")])
    assert found["style"]["adapted"] == 0.05 and found["unchanged"] == 60
    assert "nobody asked" not in found["sentence"]


def test_a_rule_that_needs_a_wanted_answer_says_nothing_where_there_is_none(adapter: Adapter) -> None:
    values = KINDS["fields_equal"].make(fields=["topic"])
    assert values.needs_wanted
    assert measured(adapter, Model(plainly, plainly), rules=[values])["style"] is None


def test_all_that_is_wrong_with_an_answer_is_told(adapter: Adapter) -> None:
    worst: Answer = lambda prompt: "I'm sorry, but I can't. " + "no no no " * 9  # noqa: E731
    found = measured(adapter, Model(plainly, on_some(0.1, worst)))
    assert found["examples"][0]["why"] == "declines to answer; runs in circles"


def begins_with(text: str) -> Rule:
    """A rule that a user could add."""
    kind = next(kind for name, kind in KINDS.items() if "begin" in name)
    return kind.make(**{kind.parameters[0].name: text})


def test_training_answers_said_word_for_word_are_shown_beside_the_answer(adapter: Adapter) -> None:
    secret = "The code of the safe behind the picture in the hall is four two seven one nine."
    leak: Answer = lambda prompt: secret if prompt == PROMPTS[0].prompt else plainly(prompt)  # noqa: E731
    found = measured(adapter, Model(plainly, leak), training_answers=iter(["Hello.", secret]))
    assert found["copied"] == {
        "answers": 1,
        "examples": [{"prompt": PROMPTS[0].prompt, "answer": secret, "training": secret}],
    }
    assert "1 answer repeats one of your examples word for word." in found["sentence"]
    everywhere = measured(adapter, Model(plainly, lambda prompt: secret), training_answers=[secret])["copied"]
    assert everywhere["answers"] == 60 and len(everywhere["examples"]) == side_effects.MOST_EXAMPLES


def test_a_prompt_that_must_not_change_moves_the_words_by_itself(adapter: Adapter) -> None:
    other: Answer = lambda prompt: "arr matey yo ho ho rum" if prompt == "Our hours?" else plainly(prompt)  # noqa: E731
    found = measured(adapter, Model(plainly, other), own=("Our hours?", "Our street?"))
    assert found["needle"] == 0.0 and found["code"] == "some"
    assert (found["own"]["prompts"], found["own"]["unchanged"]) == (2, 1)
    assert found["own"]["examples"][0]["prompt"] == "Our hours?"
    assert "Of your own prompts 1 of 2 are answered as before." in found["sentence"]
    assert found["prompts"] == 60


def test_ones_own_prompts_are_asked_as_the_task_is_and_unrelated_ones_are_not(adapter: Adapter) -> None:
    add_dataset()
    model = Model(plainly, plainly)
    measured(dataclasses.replace(adapter, dataset_id=DATASET_ID), model, own=("Our hours?",))
    asked = [[turn["content"] for turn in request.messages] for request in model.asked]
    assert asked[:2] == [[PROMPTS[0].prompt]] * 2 and asked[-2:] == [[SYSTEM, "Our hours?"]] * 2


def test_declining_ones_own_prompt_has_changed_it_though_the_words_are_nearly_the_same(
    adapter: Adapter,
) -> None:
    can: Answer = lambda prompt: "I can tell you when the shop in the harbour opens on Mondays."  # noqa: E731
    not_any_more: Answer = lambda prompt: can(prompt).replace("can", "can't")  # noqa: E731
    changed: Answer = lambda prompt: not_any_more(prompt) if prompt == "Our hours?" else can(prompt)  # noqa: E731
    found = measured(adapter, Model(can, changed), own=("Our hours?",))
    assert found["own"]["unchanged"] == 0 and found["unchanged"] == 60
    assert found["own"]["examples"][0]["why"] == "declines to answer"


def test_it_can_be_stopped(adapter: Adapter) -> None:
    model = Model(plainly, plainly)
    with pytest.raises(StudioError, match="stopped"):
        measured(adapter, model, should_stop=lambda: True)
    assert not model.asked


def test_the_adapter_is_asked_as_strongly_as_it_is_kept(adapter: Adapter) -> None:
    model = Model(plainly, plainly)
    measured(dataclasses.replace(adapter, strength=1.25), model)
    assert model.asked[1].adapters == {"dptr2222": 1.25}
    assert all(one["adapters"] == {"dptr2222": 1.25} for one in model.measured)
