"""Words of the page: numbers for people, and the sentences that more than one place says."""

from __future__ import annotations

import html

CURVE = {
    "queued": "Waiting for its turn.",
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


def rows_named(rows: list[int], most: int = 8) -> str:
    """Row numbers for a sentence: [3, 17, 20] -> "rows 3, 17, 20"; long lists end in "and N more"."""
    shown = ", ".join(str(row) for row in rows[:most])
    more = f" and {len(rows) - most:,} more" if len(rows) > most else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}{more}"


def hover(short: str, long: str) -> str:
    """HTML of a rounded number that shows the exact one on hover."""
    return f'<span title="{html.escape(long)}">{html.escape(short)}</span>'
