"""Whose turn it is."""

from __future__ import annotations

from jobs.serving.schema import GenerationRequest
from jobs.serving.turns import Question, Turns


def question(asker: str = "", background: bool = False) -> Question:
    return Question(GenerationRequest("base", [], 8, 0.0, 0, background, asker))


def entered(turns: Turns, *asked: Question) -> None:
    for one in asked:
        turns.enter(one)


def order(turns: Turns) -> list[Question]:
    """Everybody who waits, answered one after the other."""
    taken = []
    while (one := turns.take()) is not None:
        taken.append(one)
        turns.leave(one)
    return taken


def test_questions_are_answered_as_they_came():
    turns = Turns()
    asked = [question("ann"), question("ben"), question("cem")]
    entered(turns, *asked)
    assert order(turns) == asked
    assert turns.take() is None


def test_people_come_before_the_background():
    turns = Turns()
    batch, person = question("", background=True), question("ann")
    entered(turns, batch, person)
    assert order(turns) == [person, batch]


def test_who_has_asked_much_waits_with_the_rest_until_everybody_had_one():
    turns = Turns()
    much = [question("ann") for _ in range(5)]
    others = [question(f"user {number}") for number in range(3)]
    entered(turns, *much, *others)
    assert order(turns) == [much[0], *others, *much[1:]]


def test_nobody_has_to_catch_up_on_what_was_asked_before_him():
    turns = Turns()
    for _ in range(10):
        entered(turns, question("ann"))
        order(turns)
    first, second = question("ben"), question("ann")
    entered(turns, first, second)
    assert order(turns) == [first, second]
    again, new = question("ben"), question("cem")
    entered(turns, again, new)
    assert order(turns) == [again, new]


def test_background_work_takes_turns_among_itself():
    turns = Turns()
    cards = [question("card", background=True) for _ in range(2)]
    prompts = question("prompts", background=True)
    entered(turns, *cards, prompts)
    assert order(turns) == [cards[0], prompts, cards[1]]


def test_who_comes_for_the_first_time_does_not_overtake_the_round_that_is_under_way():
    turns = Turns()
    anns, cems = ([question(name) for _ in range(3)] for name in ("ann", "cem"))
    entered(turns, *anns, *cems)
    for _ in range(5):
        taken = turns.take()
        turns.leave(taken)
    assert taken is anns[2]
    new = question("ben")
    entered(turns, new)
    assert order(turns) == [cems[2], new]


def test_nobody_is_remembered_for_ever():
    turns = Turns()
    for number in range(200):
        entered(turns, question("ann"), question(f"user {number}"))
        order(turns)
    assert len(turns._asked) < 10


def test_the_place_counts_who_comes_before_and_falls_as_they_are_answered():
    turns = Turns()
    first, second, third = question("ann"), question("ben"), question("cem")
    entered(turns, first)
    assert turns.place(first) == 0
    turns.take()
    entered(turns, second, third)
    assert [turns.place(one) for one in (first, second, third)] == [0, 1, 2]
    gone = question("dan")
    entered(turns, gone)
    turns.leave(gone)
    assert turns.place(third) == 2, "the one that has the model keeps it"
    turns.leave(first)
    assert turns.place(third) == 1
    turns.leave(second)
    assert turns.place(third) == 0


def test_a_background_batch_that_runs_gives_way_and_counts_for_nothing_before_a_person():
    turns = Turns()
    batch, person = question(background=True), question("ann")
    entered(turns, batch)
    turns.take()
    entered(turns, question(background=True))
    assert not batch.gave_way
    entered(turns, person)
    assert batch.gave_way and batch.stop.is_set()
    assert turns.place(person) == 0


def test_a_persons_answer_gives_way_to_nobody():
    turns = Turns()
    first = question("ann")
    entered(turns, first)
    turns.take()
    entered(turns, question("ben"), question(background=True))
    assert not first.gave_way and not first.stop.is_set()


def test_who_has_left_is_not_answered():
    turns = Turns()
    gone, stays = question("ann"), question("ben")
    entered(turns, gone, stays)
    turns.leave(gone)
    turns.leave(gone)
    assert order(turns) == [stays]
