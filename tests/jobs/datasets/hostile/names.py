"""Good rows under names that systems, terminals, pages and spreadsheets stumble over; and text with marks."""

from __future__ import annotations

from tests.jobs.datasets.hostile.cases import Case, Refused, Taken, csv, pairs, pieces

NAMES = {
    "255 bytes": "n" * 251 + ".csv",
    "255 bytes of Chinese": "名" * 83 + ".csv",
    "a Windows device": "CON.csv",
    "another Windows device": "aux",
    "from right to left": "rows\u202evsc.exe.csv",
    "a line end": "rows\nDELETE.csv",
    "a terminal's codes": "\x1b]0;owned\x07\x1b[31mrows.csv",
    "no UTF-8": "rows\udcff\udcfe.csv",
    "a script": "<img src=x onerror=alert(1)>.csv",
    "a formula": "=cmd|' !A0.csv",
    "an option": "-rf --no-preserve-root.csv",
    "a way out in code": "..%2f..%2fetc%2fpasswd.csv",
    "a way out in backslashes": "..\\..\\evil.csv",
    "only a suffix": ".csv",
    "only dots": "...",
    "spaces and dots at the end": "rows.csv . . ",
    "quotes and dollars": "\"';$(touch evil)`id`&|.csv",
    "an SQL statement": "'); DROP TABLE datasets;--.csv",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467.csv",
    "no letters": "\u200b\u2060\u200e.csv",
    "two suffixes": "rows.csv.exe",
    "braces": "{0.__class__}%s%n{{7*7}}.csv",
}
_ROWS = csv(4).encode()
_MARKED = "\n\n".join(f"Q: {q}\nA: {a}" for q, a in pairs(4))
_HEADINGS = "\n\n".join(f"## Question\n\n{q}\n\n## Answer\n\n{a}" for q, a in pairs(4))
_PROSE = "Dear all\nthis is no table\nand no list of questions\nat all\n"

CASES = [
    *(Case(f"named with {what}", name, _ROWS, Taken(4), whole_way=True) for what, name in NAMES.items()),
    Case("marked text", "a.txt", _MARKED.encode(), Taken(4, holds=pairs(1)[0][1])),
    Case(
        "marked text with Windows line ends",
        "a.txt",
        _MARKED.replace("\n", "\r\n").encode("cp1252"),
        Taken(4),
    ),
    Case("marked headings", "a.md", _HEADINGS.encode(), Taken(4)),
    Case(
        "marked text without an answer",
        "a.txt",
        (_MARKED + "\n\nQ: Will nobody answer?").encode(),
        Taken(4, {"empty_answer": [5]}),
    ),
    Case(
        "marked text that begins with an answer",
        "a.txt",
        ("A: Yes.\n\n" + _MARKED).encode(),
        Taken(4, {"empty_prompt": [1]}),
    ),
    Case(
        "only questions",
        "a.txt",
        b"".join(b"Q: %s\n\n" % q.encode() for q, _ in pairs(4)),
        Refused("answer|cannot be told"),
    ),
    Case("prose", "a.txt", _PROSE.encode(), Refused("cannot be told|question|mark", r"\w+")),
    Case(
        "50 MB of prose",
        "a.txt",
        pieces((_PROSE.encode(), 700_000)),
        Refused("cannot be told|question|mark"),
        whole_way=True,
    ),
    Case(
        "a million questions on a line",
        "a.txt",
        pieces((b"Q: why? A: so. ", 300_000)),
        Refused(r"\w+"),
        whole_way=True,
    ),
]
