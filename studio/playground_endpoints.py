"""The public contract's part about comparing: blind pairs and their votes, sets of prompts, the kept strength."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from jobs import adapter_record
from jobs.evaluation import blind, prompt_lists, prompt_sets
from jobs.evaluation.blind import Contest
from storage import adapters, votes
from storage.errors import StudioError
from studio.compare import rounds

POLL_SECONDS = 0.1
DEFAULT_SIDES = ("base", "adapted")


def blind_pair(
    request: gr.Request, adapter_id: str, settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Two answers to a held-out prompt, without names: {pair_id, row, prompt, wanted, answers: [left, right]}.

    Settings: {"sides": [two of them, the same one twice is allowed], "temperature", "max_new_tokens"}.
    """
    making = rounds.Making(_contest(adapter_id, settings), request.session_hash or "")
    making.start()
    while making.is_alive():
        making.join(POLL_SECONDS)
    pair = rounds.hand_out(None, making)
    return {
        "pair_id": pair.id,
        "row": pair.row.row,
        "prompt": pair.row.prompt,
        "messages": pair.row.messages,
        "wanted": pair.row.reference,
        "answers": [answer["text"] for answer in pair.shown],
        "are_the_same": pair.are_the_same,
    }


def blind_vote(pair_id: str, choice: str) -> dict[str, Any]:
    """Vote "1" (the left answer), "2" (the right one) or "0" (a tie): {sides: [left, right], winner, standing}.

    Of a pair the first vote counts. `winner` is a side, or "tie".
    """
    pair, given = rounds.vote(str(pair_id), str(choice))
    winner = {votes.FIRST: given.first, votes.SECOND: given.second}.get(given.winner, votes.TIE)
    return {
        "sides": [
            {name: answer[name] for name in ("side", "label", "weights")}  # type: ignore[literal-required]
            for answer in pair.shown
        ],
        "winner": winner,
        "standing": _standing(pair.contest, pair.key),
    }


def blind_standing(adapter_id: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """How a contest stands: {first, second, wins: {first, second, ties}, share, not_counted}.

    `share` {value, low, high} is the second's of the votes that are no ties, with an interval that holds after every
    vote; `not_counted` are votes on the same sides at other strengths, temperatures, lengths or instructions.
    """
    return _standing(_contest(adapter_id, settings))


def all_votes(adapter_id: str, offset: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
    """The votes on an adapter in the order in which they were given: [{id, contest, winner, details, …}]."""
    adapters.get(adapter_id)
    wanted = min(10_000, max(0, int(limit)))
    return [asdict(one) for one in votes.list_of(adapter_id, offset=max(0, int(offset)), limit=wanted)]


def keep_strength(adapter_id: str, strength: float) -> dict[str, float]:
    """Keep how strongly an adapter answers, 0 to 1.5 with 1 as it was trained: {strength}."""
    try:
        number = float(strength)
    except (TypeError, ValueError):
        raise StudioError(f"The strength is {strength!r}.", "Give a number from 0 to 1.5.") from None
    return {"strength": adapter_record.keep_strength(adapter_id, number).strength}


def start_prompts(
    adapter_id: str,
    prompts: list[Any] | str,
    settings: dict[str, Any] | None = None,
    request_key: str | None = None,
) -> dict[str, Any]:
    """Queue prompts for all sides: {job_id, prompts}.

    `prompts` is a list of texts or of conversations, or one text with a prompt on each line; `settings` are those of
    a comparison. /job tells how it stands, /stop_job stops it and keeps the answers so far.
    """
    if isinstance(prompts, str):
        asked = prompt_lists.of_text(prompts)
    elif isinstance(prompts, list):
        asked = prompt_lists.of_values(prompts)
    else:
        raise StudioError(
            "The prompts are no list.", "Give a list of texts, or a text with one on each line."
        )
    job = prompt_sets.submit(adapter_id, asked, settings or {}, request_key=request_key or None)
    return {"job_id": job.id, "prompts": len(asked.prompts)}


def start_prompt_file(file: str, adapter_id: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Queue the prompts in a file: {job_id, prompts, column, left_out}.

    `settings` are those of a comparison, with "column" (its name, found by itself where possible) and "separated"
    ("lines" or "blank_lines", for plain text).
    """
    others = dict(settings or {})
    column, separated = others.pop("column", None), others.pop("separated", prompt_lists.LINES)
    path = Path(file)
    asked = prompt_lists.of_file(path, path.name, column, separated)
    job = prompt_sets.submit(adapter_id, asked, others, source=path.name)
    return {
        "job_id": job.id,
        "prompts": len(asked.prompts),
        "column": asked.column,
        "left_out": asked.left_out,
    }


def prompt_answers(job_id: str, offset: int = 0, limit: int = 100) -> dict[str, Any]:
    """Some prompts of a set with the answers so far: {total, sides: {side: label}, rows}.

    A row is {number, messages, answers: {side: {text, tokens, weights, …} or {error}}}.
    """
    job = prompt_sets.get(job_id)
    found = prompt_sets.page(job_id, int(offset), int(limit))
    return {
        "total": job.settings["prompts"],
        "sides": prompt_sets.labels(job),
        "rows": [asdict(one) for one in found],
    }


def all_prompt_sets(adapter_id: str) -> list[dict[str, Any]]:
    """The sets that an adapter was asked, newest first: [{job_id, name, status, prompts, created}]."""
    adapters.get(adapter_id)
    return [
        {
            "job_id": job.id,
            "name": job.name,
            "status": job.status,
            "prompts": job.settings["prompts"],
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.created_at)),
        }
        for job in prompt_sets.of_adapter(adapter_id)
    ]


def _contest(adapter_id: str, settings: dict[str, Any] | None) -> Contest:
    given = dict(settings or {})
    sides = given.pop("sides", list(DEFAULT_SIDES))
    known = {name: given.pop(name) for name in ("temperature", "max_new_tokens") if name in given}
    if given:
        raise StudioError(
            f"“{next(iter(given))}” is not a setting of a blind comparison.",
            "Use: sides, temperature, max_new_tokens.",
        )
    if not isinstance(sides, list) or not all(isinstance(side, str) for side in sides):
        raise StudioError(f"sides is {sides!r}.", "Give a list of two sides.")
    return Contest.of(adapter_id, sides, **known)


def _standing(contest: Contest, key: str | None = None) -> dict[str, Any]:
    key = contest.key if key is None else key
    found = blind.standing(contest, key)
    return {
        "contest": key,
        "first": contest.first,
        "second": contest.second,
        "wins": asdict(found.counts),
        "share": None if found.share is None else asdict(found.share),
        "not_counted": found.others,
    }


FUNCTIONS = {
    "blind_pair": blind_pair,
    "blind_vote": blind_vote,
    "blind_standing": blind_standing,
    "votes": all_votes,
    "keep_strength": keep_strength,
    "start_prompts": start_prompts,
    "prompt_answers": prompt_answers,
    "prompt_sets": all_prompt_sets,
}
