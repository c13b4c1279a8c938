"""A support team's spreadsheet as it really comes: `python -m tests.journeys.sloppy FILE` writes it.

Real-looking mails and tickets, saved by a spreadsheet as CSV with semicolons in Windows-1252, after several
people and two programs have had their hands in it. `DEFECTS` says which rows have what.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path

from jobs.datasets import samples

COLUMNS = ("No.", "Received", "System prompt", "Customer mail", "Ticket")
SYSTEM = "Turn the customer's mail into a ticket as JSON."
# How the same instruction looks after it was copied by hand.
_SPACED = (f"{SYSTEM} ", SYSTEM.replace("the ", "the  "), f" {SYSTEM}", SYSTEM.replace(" as", "\u00a0as"))

_Mail = tuple[str, str]


def _ticket(
    topic: str, summary: str, order: str | None = None, urgency: str = "normal", reply: bool = True
) -> str:
    return json.dumps(
        {"topic": topic, "urgency": urgency, "order": order, "summary": summary, "reply_needed": reply},
        ensure_ascii=False,
    )


_MOJIBAKE: list[_Mail] = [
    (
        "My parcel G4471 went to MÃ¼nchen although I live in KÃ¶ln. Where is it now?",
        _ticket("delivery", "Parcel went to Munich", "G4471"),
    ),
    (
        "The cafÃ© table wobbles, and donâ€™t tell me to fold a napkin under it.",
        _ticket("product", "Table wobbles"),
    ),
    (
        "FranÃ§oise here: the lamp youâ€™ve sent is the wrong colour, I ordered green.",
        _ticket("returns", "Wrong lamp colour"),
    ),
    (
        "GrÃ¼ÃŸe aus ZÃ¼rich! Do you have the sofa in blue as well?",
        _ticket("product", "Asks for blue sofa", urgency="low"),
    ),
]
_HTML: list[_Mail] = [
    (
        "<p>Hello,<br>the invoice for G2093 shows <b>two</b> lamps, I bought one.</p>",
        _ticket("billing", "Invoice shows two lamps", "G2093"),
    ),
    (
        "Can you change the address of G7718?&nbsp;We move on Friday.<br><br>Ann",
        _ticket("delivery", "Change address before Friday", "G7718"),
    ),
    (
        '<div style="font-family:Arial">When does the bookcase come back into stock?</div>',
        _ticket("product", "Asks when bookcase is back", urgency="low"),
    ),
]
_PERSONAL: list[_Mail] = [
    (
        "Please send the receipt for G5120 to marion.keller@posteo.example, thank you.",
        _ticket("billing", "Send receipt by mail", "G5120"),
    ),
    (
        "Nobody calls me back! My number is +49 89 636 48018, any time after six.",
        _ticket("complaint", "Wants to be called back", urgency="high"),
    ),
    (
        "Charge my new card 4111 1111 1111 1111 for the rest of G6644, please.",
        _ticket("billing", "Pay the rest with new card", "G6644"),
    ),
]
_OFF_FORMAT: list[_Mail] = [
    (
        "The drawer of my desk sticks, what can I do about it?",
        "Sorry to hear that! Please try some candle wax on the rails.",
    ),
    ("I'd like to cancel G8123, it was ordered twice.", "Topic: cancellation, order G8123, no reply needed"),
    ("Is the outlet store in Leeds open over Easter?", "TODO ask Ben"),
]
_UNANSWERED = (
    "Where can I see what my gift card is worth?",
    "The voucher SPRING10 does not work on your site.",
    "Do you take back old mattresses?",
)
_ODD_SIGNS = (
    "My password mail never\x0barrived,\x08 I looked in the spam folder.",
    _ticket("account", "No password mail"),
)


def _sample_mails() -> list[_Mail]:
    """The mails of the sample set about tickets, which have nothing wrong."""
    lines = samples.find("format").path.read_text(encoding="utf-8").splitlines()
    turns = [[message["content"] for message in json.loads(line)["messages"]] for line in lines]
    # Mail programs curl apostrophes: these are what tells Windows-1252 from UTF-8 here.
    return [(asked.replace("'", "’"), answered) for _, asked, answered in turns]


def _rows() -> tuple[list[list[str]], dict[str, list[int]]]:
    """The rows below the header, and the numbers of those that have something wrong."""
    good = _sample_mails()
    special: dict[str, list[_Mail]] = {
        "mojibake": _MOJIBAKE,
        "html_remains": _HTML,
        "email_address": _PERSONAL[:1],
        "phone_number": _PERSONAL[1:2],
        "card_number": _PERSONAL[2:],
        "format_outlier": _OFF_FORMAT,
        "empty_answer": [(mail, "") for mail in _UNANSWERED],
        "control_characters": [_ODD_SIGNS],
        "duplicate": good[4:8],
    }
    defects: dict[str, list[int]] = {code: [] for code in special}
    queue = [(code, mail) for code, mails in special.items() for mail in mails]
    rows: list[list[str]] = []

    def add(mail: _Mail, code: str = "") -> None:
        number = len(rows) + 1
        system = _SPACED[number % len(_SPACED)] if number % 9 == 4 and code != "duplicate" else SYSTEM
        if system != SYSTEM:
            defects.setdefault("system_spacing", []).append(number)
        if code:
            defects[code].append(number)
        rows.append([str(2000 + number), f"{1 + number % 28:02}.03.2026", system, *mail])

    for position, mail in enumerate(good):
        add(mail)
        if position % 4 == 3 and queue and position > 16:  # copies come after what they copy
            add(queue[0][1], queue.pop(0)[0])
    for code, mail in queue:
        add(mail, code)
    return rows, defects


ROWS, DEFECTS = _rows()


def content() -> bytes:
    """The file, with a row that has a cell too many and the empty rows that spreadsheets leave at the end."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows(ROWS)
    writer.writerow(
        ["2999", "28.03.2026", SYSTEM, "One more; with a semicolon", _ticket("other", "None"), "see above"]
    )
    text.write(";;;;\r\n" * 2)
    return text.getvalue().encode("cp1252")


def write(path: Path) -> Path:
    path.write_bytes(content())
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.journeys.sloppy", description=__doc__)
    parser.add_argument("file", type=Path)
    write(parser.parse_args().file)
