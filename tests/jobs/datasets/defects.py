"""Known defects of every code, put into clean sets with a fixed seed: which rows must be found."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.jobs.datasets.clean_sets import Messages, sentence

Row = dict[str, Any]
ASCII = "abcdefghijklmnopqrstuvwxyz0123456789"
SHARE = 0.04  # of the rows get the defect, but those that are about few rows by nature


def put_in(code: str, rows: list[Row], rng: Random) -> tuple[list[Row], set[int]]:
    """The rows with the defect in some of them, and the numbers that must be found."""
    rows = json.loads(json.dumps(rows))
    count = max(3, round(SHARE * len(rows)))
    if code in ADDED:
        last = max(row["row"] for row in rows)
        usable = [row for row in rows if row["split"] == ("held_out" if code == "leak" else "train")]
        sources = rng.sample(usable, min(count, len(usable)))
        new = [
            {"row": last + n, "messages": ADDED[code](row["messages"], rng), "split": "train"}
            for n, row in enumerate(sources, start=1)
        ]
        found = {row["row"] for row in new}
        if code == "same_prompt":
            found |= {row["row"] for row in sources}
        return rows + new, found
    chosen = rng.sample([row for row in rows if row["split"] == "train"], count)
    for row in chosen:
        row["messages"] = CHANGED[code](row["messages"], rng)
    return rows, {row["row"] for row in chosen}


def _last(
    change: Callable[[str, Random], str], role: str = "assistant"
) -> Callable[[Messages, Random], Messages]:
    """Changes the last text that this side says."""

    def changed(messages: Messages, rng: Random) -> Messages:
        place = max(n for n, m in enumerate(messages) if m["role"] == role)
        new = {"role": role, "content": change(messages[place]["content"], rng)}
        return [*messages[:place], new, *messages[place + 1 :]]

    return changed


def _said_beside(make: Callable[[Random], str]) -> Callable[[Messages, Random], Messages]:
    """Says something more in the prompt."""
    return _last(lambda text, rng: f"{text} {make(rng)}", "user")


def _letters(rng: Random, count: int, of: str = ASCII) -> str:
    return "".join(rng.choice(of) for _ in range(count))


def _digits(rng: Random, count: int) -> str:
    return _letters(rng, count, "0123456789")


def a_secret(rng: Random) -> str:
    upper, mixed = ASCII.upper(), ASCII + ASCII[:26].upper()
    return rng.choice(
        [
            f"The key is AKIA{_letters(rng, 16, upper)} I think.",
            f"export OPENAI_API_KEY=sk-{_letters(rng, 47, mixed)}1",
            f"key sk-proj-{_letters(rng, 60, mixed)}7",
            f"ghp_{_letters(rng, 36, mixed)}",
            f"github_pat_{_letters(rng, 22, mixed)}_{_letters(rng, 59, mixed)}",
            f"xoxb-{_digits(rng, 12)}-{_digits(rng, 12)}-{_letters(rng, 24, mixed)}",
            f"AIza{_letters(rng, 35, mixed)}",
            f"sk_live_{_letters(rng, 23, mixed)}4",
            f"eyJ{_letters(rng, 30, mixed)}.eyJ{_letters(rng, 40, mixed)}.{_letters(rng, 43, mixed)}",
            f"Authorization: Bearer {_letters(rng, 39, mixed)}5",
            f"-----BEGIN RSA PRIVATE KEY-----\n{_letters(rng, 64, mixed)}\n-----END RSA PRIVATE KEY-----",
            f"My password is {_letters(rng, 6)}7X!",
            f"password={_letters(rng, 7)}9",
            f"postgres://admin:{_letters(rng, 9)}3@db.internal/prod",
        ]
    )


def an_email(rng: Random) -> str:
    name, host = _letters(rng, 6, ASCII[:26]), _letters(rng, 7, ASCII[:26])
    end = rng.choice(["com", "de", "co.uk", "org"])
    return rng.choice(
        [
            f"Write to {name}@{host}.{end}.",
            f"({name}.{host}+x@mail.{host}.{end})",
            f"mail:{name}@{host}.{end}",
        ]
    )


def a_phone(rng: Random) -> str:
    seven = f"{rng.randint(200, 899)}-{_digits(rng, 4)}"
    return rng.choice(
        [
            f"Call me at (415) {seven}.",
            f"+1 212-{seven}",
            f"my number: 303.{seven.replace('-', '.')}",
            f"Tel. +49 30 {rng.randint(2000000, 8999999)}",
            f"Telefon: 0171 {rng.randint(2000000, 8999999)}",
            f"phone +44 20 7946 0{_digits(rng, 3)}",
            f"Ring me on 020 7946 0{_digits(rng, 3)}",
        ]
    )


def a_card(rng: Random) -> str:
    begin, length = rng.choice([("4", 16), ("53", 16), ("2221", 16), ("37", 15), ("6011", 16)])
    number = begin + _digits(rng, length - len(begin) - 1)
    total = sum(sum(divmod(int(d) * 2, 10)) if n % 2 == 0 else int(d) for n, d in enumerate(number[::-1]))
    number += str(-total % 10)
    if length == 16 and rng.random() < 0.5:
        number = " ".join(number[n : n + 4] for n in range(0, 16, 4))
    return f"The card is {number}, valid next year."


def wrongly_read(text: str, rng: Random) -> str:
    extra = rng.choice(["Größe", "naïve", "café", "übermorgen", "“quoted” – and more", "it’s", "señor"])
    encoding = rng.choice(["cp1252", "latin-1"])
    return f"{text} {extra.encode().decode(encoding, 'ignore' if encoding == 'cp1252' else 'strict')}"


def with_controls(text: str, rng: Random) -> str:
    place = rng.randrange(1, len(text))
    return (
        text[:place]
        + rng.choice(["\x00", "\x07", "\u200b", "\ufeff", "\x1b[1m", "\u2060", "\x08"])
        + text[place:]
    )


def with_markup(text: str, rng: Random) -> str:
    return rng.choice(
        [
            f"<p>{text}</p>",
            f"{text}<br/>",
            text.replace(" ", "&nbsp;", 1) if " " in text else f"{text}&nbsp;",
            f'<div class="answer">{text}</div>',
            f"{text} &amp; more",
            f'<a href="https://shop.test/x">{text}</a>',
            f"<ul><li>{text}</li></ul>",
            f"{text} &#8217; &quot;so&quot;",
        ]
    )


def nearly(messages: Messages, rng: Random) -> Messages:
    """The same row again: another case, a sign more, a small word, a slip of the pen."""
    kind = rng.randrange(4)
    if kind == 0:
        return [
            {**m, "content": m["content"] + " "}
            if m["role"] == "assistant"
            else {**m, "content": m["content"].upper()}
            for m in messages
        ]
    if kind == 1:
        return _last(lambda text, _: text.rstrip("?.! ") + "…", "user")(messages, rng)
    if kind == 2:
        return _last(lambda text, _: f"Hello, {text[:1].lower()}{text[1:]} Thanks!", "user")(messages, rng)
    return _last(lambda text, _: _slip(text, rng), "user")(messages, rng)


def _slip(text: str, rng: Random) -> str:
    """One long word with two letters changed over."""
    words = text.split(" ")
    long = [n for n, word in enumerate(words) if len(word) >= 7 and word.isalpha() and word[3] != word[4]]
    if not long:
        return f" {text}!"
    place = rng.choice(long)
    word = words[place]
    words[place] = word[:3] + word[4] + word[3] + word[5:]
    return " ".join(words)


def in_another_language(text: str, rng: Random) -> str:
    return rng.choice(
        [
            "La livraison prend généralement trois jours, sauf pendant les vacances.",
            "El paquete todavía no ha llegado, pero llegará mañana por la tarde.",
            "Il pacco non è ancora arrivato, ma arriverà domani pomeriggio.",
            "De levering duurt meestal drie dagen, behalve tijdens de vakantie.",
            "Доставка обычно занимает три дня, кроме праздничных дней.",
        ]
    )


def other_style(text: str, rng: Random) -> str:
    return rng.choice([text.upper(), text.lower()])


def spelled_otherwise(system: dict[str, str], rng: Random) -> dict[str, str]:
    text = system["content"]
    other = [f" {text}", text.lower(), text.rstrip(".") + "!", text.replace(" ", "  "), f"{text}\n"]
    return {**system, "content": rng.choice(other)}


ADDED: dict[str, Callable[[Messages, Random], Messages]] = {
    "duplicate": lambda messages, rng: messages,
    "near_duplicate": nearly,
    "same_prompt": _last(lambda text, rng: f"{sentence(rng)} {sentence(rng)}"),
    "leak": _last(lambda text, rng: text.rstrip("?. ").lower() + " ?", "user"),
}
CHANGED: dict[str, Callable[[Messages, Random], Messages]] = {
    "secret": _said_beside(a_secret),
    "email_address": _said_beside(an_email),
    "phone_number": _said_beside(a_phone),
    "card_number": _said_beside(a_card),
    "mojibake": _last(wrongly_read),
    "control_characters": _last(with_controls),
    "html_remains": _last(with_markup),
    "mixed_language": _last(in_another_language),
    "length_outlier": _last(lambda text, rng: " ".join(sentence(rng) for _ in range(20 * len(text) // 50))),
    "style_outlier": _last(other_style),
    "format_outlier": _last(lambda text, rng: sentence(rng)),
    "system_spacing": lambda messages, rng: [spelled_otherwise(messages[0], rng), *messages[1:]],
    "empty_answer": _last(lambda text, rng: rng.choice(["", " ", "\n\t"])),
    "empty_prompt": _last(lambda text, rng: rng.choice(["", "  "]), "user"),
    "role_order": lambda messages, rng: rng.choice([[*messages, messages[-1]], messages[-1:] + messages]),
    "one_sided": lambda messages, rng: [m for m in messages if m["role"] != "assistant"],
}  # fmt: skip
# Which sets can have the defect: a list of labels has no style, and only tickets have a format to break.
FITS = {
    "html_remains": ("tone", "facts", "talks", "german", "labels"),
    "mixed_language": ("tone", "talks", "german"),
    "length_outlier": ("tone", "talks", "german", "tickets"),
    "style_outlier": ("tone", "talks", "german"),
    "format_outlier": ("tickets", "labels", "code"),
    "system_spacing": ("tickets",),
    "near_duplicate": ("tone", "tickets", "talks", "german", "facts"),
    "same_prompt": ("tone", "facts", "talks", "german", "code"),
}
