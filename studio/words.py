"""Words of the page: numbers for people, and the sentences that more than one place says."""

from __future__ import annotations

import html

from storage.jobs import Job

CURVE = {
    "queued": "Waiting for its turn.",
    "paused": "Waiting until there is room on the disk.",
    "silent": "Nothing has been heard of it for a while.",
    "running": "Training.",
    "preparing": "Getting ready: loading the model and the examples.",
    "early": "Just started: too early to tell.",
    "learning": "Yes, still. Held-out loss falls: it learns the pattern, not the examples.",
    "flat": "Not yet. Held-out loss has hardly moved so far.",
    "memorising": "It has begun to memorise: held-out loss rises again. The best state so far is kept.",
    "stopping": "Stopping, and keeping the best so far.",
    "stopped": "Stopped. The best state is kept.",
    "finished": "Finished. The best state is kept: compare the answers.",
    "failed": "It stopped with a problem.",
    "step_unknown": "Getting ready",
    "connection": "No answer from the studio: trying again. Training goes on meanwhile.",
    "deleted": "This run has been deleted.",
}

PLURALS = {"example": "examples", "row": "rows", "problem": "problems", "token": "tokens", "value": "values"}


def exact(number: float) -> str:
    """A whole number with thousands separators: 2451968 -> "2,451,968"."""
    return f"{number:,.0f}"


def count(number: float) -> str:
    """A number as people say it: 2_451_968 -> "2.5 million", 884_736 -> "884,736"."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= 0.9995 * size:  # what rounds up to a million is a million
            amount = number / size
            return f"{amount:,.0f} {word}" if amount >= 100 else f"{amount:.1f} {word}".replace(".0 ", " ")
    return exact(number)


def size(size_bytes: float) -> str:
    """Bytes in decimal units, as file managers show them: 9_800_000 -> "9.8 MB"."""
    for unit, word in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= 0.9995 * unit:  # 999,960 bytes are 1.0 MB, not 1000 kB
            amount = size_bytes / unit
            return f"{amount:.0f} {word}" if amount >= 100 else f"{amount:.1f} {word}"
    return f"{size_bytes:.0f} bytes"


def duration(seconds: float) -> str:
    """Seconds as people say them: 80 -> "80 seconds", 250 -> "4 minutes"."""
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        minutes = round(seconds / 60)
        return "a minute" if minutes == 1 else f"{minutes} minutes"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86400:.1f} days"


def closely(seconds: float) -> str:
    """Seconds where ten of them matter: 100 -> "1 minute 40", 605 -> "10 minutes"."""
    tens = 10 * round(seconds / 10)
    if not 90 <= seconds < 595:
        return duration(seconds)
    minutes, rest = divmod(tens, 60)
    return f"{many(minutes, 'minute')} {rest}" if rest else many(minutes, "minute")


def foreseen(job: Job) -> str:
    """What the rehearsal of a run foresaw, and after its end how far off that was; empty without one."""
    if job.foreseen_seconds is None or job.foreseen_peak_bytes is None:
        return ""
    said = f"Foreseen: about {closely(job.foreseen_seconds)}, {size(job.foreseen_peak_bytes)}"
    truth = job.result.get("rehearsal") or {}
    time = _off(truth.get("seconds_error"), "It took", "longer", "less time", "as long")
    memory = _off(truth.get("peak_error"), "it needed", "more memory", "less memory", "as much memory")
    found = ", and ".join(part for part in (time, memory) if part)
    return f"{said}. {found[0].upper()}{found[1:]}." if found else f"{said}."


def _off(error: float | None, verb: str, above: str, below: str, even: str) -> str:
    """The truth against what was foreseen, in words; `error` is the other way round, foreseen / truth - 1."""
    if error is None or error <= -1:
        return ""
    more = 1 / (1 + error) - 1
    if abs(more) < 0.005:
        return f"{verb} {even} as foreseen"
    return f"{verb} {100 * abs(more):.0f} % {above if more > 0 else below} than foreseen"


def how(job: Job) -> list[str]:
    """How a run computes, a sentence each: what it said on the way, then what only its result says."""
    told = [*job.notes, *(job.result.get("words") or []), *(job.result.get("notes") or [])]
    return list(dict.fromkeys(told))


def curve(job: Job) -> str:
    """Which sentence of CURVE fits a run, as far as its state alone tells; the live page also knows its losses."""
    if job.status == "queued" and job.paused_for:
        return "paused"
    return "silent" if job.status == "running" and job.silent_seconds else job.status


def standing(job: Job, place: int | None) -> str:
    """Why a run does not get on at the moment, and what comes of it; empty for one that does or has ended."""
    if job.deleting:
        return "It is deleted as soon as its process has ended."
    if job.status == "queued" and job.paused_for and job.attempt:
        return f"{job.paused_for} It goes on by itself when there is room."
    if job.status in ("queued", "running") and job.paused_for:
        return job.paused_for
    if job.status == "queued" and place:
        return f"Waiting: {in_queue(place)}."
    if job.status == "running" and job.silent_seconds:
        return f"No progress for {duration(job.silent_seconds)}. If that is not expected, Stop ends it."
    return ""


def in_queue(place: int) -> str:
    """A place in the queue: 1 -> "next in the queue", 2 -> "2nd in the queue"."""
    if place == 1:
        return "next in the queue"
    ending = {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th") if place % 100 not in (11, 12, 13) else "th"
    return f"{place:,}{ending} in the queue"


def ranks(job: Job) -> str:
    """The rank of a run, or those it tries and in the end the kept one: "8"; "2, 4, 8"; "4, kept of 2, 4, 8"."""
    tried = job.settings.get("try_ranks") or []
    if len(tried) < 2:
        return str(job.rank)
    every, best = ", ".join(map(str, tried)), job.result.get("best_trial")
    return every if best is None else f"{job.result['trials'][best]['rank']}, kept of {every}"


def times(strength: float) -> str:
    """A strength as people read it: 0.7 -> "0.7×"."""
    return f"{strength:g}×"


def share(part: float, whole: float) -> str:
    """A part in per cent with two digits that matter: (2.4e6, 135e6) -> "1.8 %"."""
    if not whole:
        return "0 %"
    percent = 100 * part / whole
    if 0 < percent < 0.0001:
        return "less than 0.0001 %"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def many(number: int, noun: str) -> str:
    """A number with its noun in the right form: (1, "row") -> "1 row"."""
    return f"{number:,} {noun if number == 1 else PLURALS.get(noun, noun + 's')}"


def rows_named(rows: list[int], most: int = 8, total: int | None = None) -> str:
    """Row numbers for a sentence: [3, 17, 20] -> "rows 3, 17, 20"; long lists end in "and N more".

    `total` is how many there are where `rows` holds only the first of them.
    """
    total = len(rows) if total is None else total
    shown = ", ".join(str(row) for row in rows[:most])
    more = f" and {total - most:,} more" if total > most else ""
    return f"{'row' if total == 1 else 'rows'} {shown}{more}"


def hover(short: str, long: str) -> str:
    """HTML of a rounded number that shows the exact one on hover."""
    return f'<span title="{html.escape(long)}">{html.escape(short)}</span>'
