"""What is put right is put right for good: the problem is gone, nothing else changes, no row changes sides."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from jobs.datasets import fixing
from jobs.datasets.checks import Checker, fix_all_codes
from tests.jobs.datasets import clean_sets, defects
from tests.jobs.datasets.test_checks_defects import read_again

Row = dict[str, Any]


def checked(rows: list[Row]) -> tuple[dict[str, list[int]], fixing.FixContext, list[dict[str, Any]]]:
    checker = Checker()
    for row in rows:
        checker.see(row)
    problems = checker.problems()
    context = fixing.FixContext.from_json(checker.context().as_json())
    return {p.code: p.rows for p in problems}, context, [p.as_json() for p in problems]


def fixed(rows: list[Row], codes: list[str]) -> list[Row]:
    listed, context, _ = checked(rows)
    by_row: dict[int, Row | None] = {row["row"]: row for row in rows}
    by_row.update(fixing.changes(codes, rows, listed, context))
    return [row for row in by_row.values() if row is not None]


def damaged(code: str, seed: int) -> list[Row]:
    name = sorted(defects.FITS.get(code, tuple(clean_sets.SETS)))[seed % 2 - 1]
    clean = clean_sets.lines(clean_sets.SETS[name](Random(seed)))
    rows, _ = defects.put_in(code, clean, Random(f"{code} {seed}"))
    return [read_again(row) for row in rows]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("code", [c for c in (*defects.ADDED, *defects.CHANGED) if c in fixing.FIXABLE])
def test_a_fixed_problem_is_gone_and_fixing_again_changes_nothing(code: str, seed: int) -> None:
    before = damaged(code, seed)
    listed, context, _ = checked(before)
    assert listed.get(code)
    after = fixed(before, [code])
    found, context, _ = checked(after)
    assert code not in found
    assert list(fixing.changes([code], after, found, context)) == []
    touched = set(listed[code])
    sides = {row["row"]: row["split"] for row in before}
    assert [row for row in after if row["row"] not in touched] == [
        r for r in before if r["row"] not in touched
    ]
    assert all(sides[row["row"]] in (row["split"], "left_out") for row in after)


@pytest.mark.parametrize(
    "code", [c for c in (*defects.ADDED, *defects.CHANGED) if fixing.FIXABLE.get(c) in ("Repair", "Mask")]
)
def test_each_row_is_put_right_in_one_go(code: str) -> None:
    for seed in range(4):
        before = damaged(code, seed)
        listed, context, _ = checked(before)
        for row in before:
            if row["row"] in listed[code]:
                once = fixing.fix(code, row, context)
                assert once is None or fixing.fix(code, once, context) == once


def test_of_copies_the_one_kept_aside_stays() -> None:
    rows = clean_sets.lines(clean_sets.SETS["talks"](Random(0)))
    aside = next(row for row in rows if row["split"] == "held_out")
    copy = {**aside, "row": 1000, "split": "train"}
    nearly = {"row": 1001, "split": "train", "messages": defects.nearly(aside["messages"], Random(3))}
    after = fixed([*rows, copy, nearly], ["duplicate", "near_duplicate", "leak"])
    assert after == rows


def test_rows_that_become_copies_by_their_repair_go_too() -> None:
    rows = clean_sets.lines(clean_sets.SETS["facts"](Random(0)))
    first = next(row for row in rows if row["split"] == "train")
    wrong = [{**m, "content": m["content"] + "\u200b"} for m in first["messages"]]
    again = [{"row": 1000, "messages": wrong, "split": "train"}, {**first, "row": 1001}]
    assert fixed([*rows, *again], ["duplicate", "control_characters"]) == rows


def test_fix_all_leaves_nothing_of_what_it_may_fix() -> None:
    rows = clean_sets.lines(clean_sets.SETS["tone"](Random(0)))
    for code in (
        "duplicate",
        "mojibake",
        "secret",
        "email_address",
        "html_remains",
        "control_characters",
        "empty_answer",
    ):
        rows, _ = defects.put_in(code, rows, Random(code))
    rows = [read_again(row) for row in rows]
    _, _, problems = checked(rows)
    codes = fix_all_codes(problems, len(rows))
    after = fixed(rows, codes)
    found, _, _ = checked(after)
    assert codes and not set(codes) & set(found)
    assert len(after) >= 0.8 * len(rows)


def test_fix_all_never_takes_a_large_part_away() -> None:
    problems = [
        {"code": "duplicate", "rows": [1] * 1000, "count": 1200, "fix_label": "Keep one"},
        {"code": "mojibake", "rows": [2], "count": 4000, "fix_label": "Repair"},
        {"code": "near_duplicate", "rows": [3], "count": 1, "fix_label": "Keep one"},
    ]
    assert fix_all_codes(problems, 5000) == ["mojibake"]


def test_masks_are_the_same_words_everywhere() -> None:
    said = "ada@example.org +1 (415) 555-2671 4111 1111 1111 1111 ghp_" + "a1" * 18
    row = {"row": 1, "split": "train", "messages": clean_sets.pair(said, "Fine, thank you.")}
    for code in ("secret", "card_number", "email_address", "phone_number"):
        row = fixing.fix(code, row, fixing.FixContext()) or {}
    assert row["messages"][0]["content"] == "[email] [phone] [card] [secret]"


def test_the_own_address_in_many_answers_stays() -> None:
    rows = clean_sets.lines(clean_sets.SETS["tone"](Random(0)))
    for row in rows[:20]:
        row["messages"][-1]["content"] += " Write to hello@shop.example.com."
    rows[30]["messages"][0]["content"] += " I wrote to hello@shop.example.com from bob@home.example.com."
    listed, context, _ = checked(rows)
    assert listed["email_address"] == [rows[30]["row"]]
    after = fixing.fix("email_address", rows[30], context) or {}
    assert after["messages"][0]["content"].endswith("I wrote to hello@shop.example.com from [email].")


def test_turns_out_of_order_are_joined_and_what_has_no_answer_goes() -> None:
    said = [
        ("assistant", "Hi."),
        ("user", "One?"),
        ("user", "Two?"),
        ("assistant", "Both."),
        ("user", "And?"),
    ]
    row = {"row": 7, "split": "left_out", "code": "role_order", "reason": "x", "messages": []}
    row["messages"] = [{"role": role, "content": text} for role, text in said]
    repaired = fixing.fix("role_order", row, fixing.FixContext())
    assert repaired == {"row": 7, "split": "train", "messages": clean_sets.pair("One?\n\nTwo?", "Both.")}


def test_repaired_json_stays_json() -> None:
    answer = '{"text": "say &quot;hi&quot;<br>twice"}'
    row = {"row": 1, "split": "train", "messages": clean_sets.pair("Go on.", answer)}
    after = fixing.fix("html_remains", row, fixing.FixContext()) or {}
    assert after["messages"][1]["content"] == '{"text": "say \\"hi\\"\\ntwice"}'


def test_a_password_in_an_address_is_masked_before_what_looks_like_an_email() -> None:
    said = clean_sets.pair("It is postgres://bob:s3cr3t99@db.example.com/shop", "Fine, thank you.")
    codes = ["email_address", "secret"]
    row = {"row": 1, "split": "train", "messages": said}
    ((_, new),) = fixing.changes(codes, [row], {code: [1] for code in codes}, fixing.FixContext())
    assert new and new["messages"][0]["content"] == "It is postgres://bob:[secret]@db.example.com/shop"
