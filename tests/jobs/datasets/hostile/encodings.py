"""Text in every encoding people have, and bytes that are no text."""

from __future__ import annotations

from tests.jobs.datasets.hostile.cases import Case, Refused, Taken, csv, jsonl, records

GERMAN = [
    ("Können Sie nach Österreich liefern?", "Ja, für 5 € in fünf Tagen – versprochen."),
    ("Wo finde ich die Größentabelle?", "Über der Artikelbeschreibung, auf „Größen“ drücken."),
    ("Ist das Gerät spülmaschinenfest?", "Nein, bitte nur von Hand spülen und gründlich trocknen."),
    ("Was kostet die Rücksendung?", "Für Möbel 19 €, für alles Übrige nichts."),
    ("Wann öffnet die Filiale in Köln?", "Täglich außer sonntags von zehn bis achtzehn Uhr."),
    ("Haben Sie das Buch auf Französisch?", "Leider nein, es wäre erst im März verfügbar."),
]
RUSSIAN = [
    ("Где моя посылка?", "Она уже в пути и прибудет завтра."),
    ("Можно вернуть лампу?", "Да, в течение тридцати дней."),
    ("Работаете ли вы в воскресенье?", "Нет, только по будням."),
    ("Сколько стоит доставка?", "Доставка по городу бесплатна."),
]
JAPANESE = [
    ("荷物はどこにありますか。", "今朝、倉庫を出発しました。"),
    ("ランプを返品できますか。", "はい、三十日以内であれば可能です。"),
    ("日曜日は営業していますか。", "いいえ、平日のみ営業しております。"),
    ("送料はいくらですか。", "市内への配送は無料です。"),
]


def table(rows: list[tuple[str, str]], delimiter: str = ",", end: str = "\n") -> str:
    return end.join([f"prompt{delimiter}response", *(f'"{q}"{delimiter}"{a}"' for q, a in rows), ""])


_GERMAN = table(GERMAN, ";", "\r\n")
_TWO_GOOD = records(3)

CASES = [
    Case("empty", "a.csv", b"", Refused("a.csv is empty", "example")),
    Case("only spaces", "a.csv", b" \n\n \t\n", Refused("empty|no (usable )?rows", "example")),
    Case("only a byte order mark", "a.jsonl", b"\xef\xbb\xbf", Refused("empty")),
    Case("only NUL bytes", "a.csv", bytes(1_000_000), Refused("NUL|not (plain )?text|empty")),
    Case("header only", "a.csv", b"prompt,response\n", Refused("no (usable )?rows", "example")),
    Case("header only TSV", "a.tsv", b"prompt\tresponse", Refused("no (usable )?rows", "example")),
    Case(
        "all rows blank",
        "a.csv",
        b"prompt,response\n" + b",\n" * 5,
        Refused("Row 1: all its cells are empty"),
    ),
    Case("UTF-8 with a mark", "a.csv", csv(4).encode("utf-8-sig"), Taken(4)),
    Case(
        "UTF-16 little endian",
        "a.csv",
        b"\xff\xfe" + _GERMAN.encode("utf-16-le"),
        Taken(6, detected={"Encoding": "UTF-16"}, holds=GERMAN[0][1]),
    ),
    Case(
        "UTF-16 big endian",
        "a.csv",
        b"\xfe\xff" + _GERMAN.encode("utf-16-be"),
        Taken(6, detected={"Encoding": "UTF-16"}, holds=GERMAN[0][1]),
    ),
    Case("UTF-16 JSONL", "a.jsonl", jsonl(*records(4)).decode().encode("utf-16"), Taken(4)),
    Case("UTF-16 without a mark", "a.csv", csv(4).encode("utf-16-le"), Taken(4)),
    Case(
        "UTF-16 cut in half a character",
        "a.csv",
        csv(4).encode("utf-16")[:-1],
        Refused("UTF-16.*(offset|byte)"),
    ),
    Case("UTF-32", "a.csv", csv(4).encode("utf-32"), Taken(4)),
    Case(
        "Windows-1252",
        "a.csv",
        _GERMAN.encode("cp1252"),
        Taken(6, detected={"Encoding": "Windows-1252", "Delimiter": "semicolon"}, holds=GERMAN[0][1]),
    ),
    Case("Windows-1251", "a.csv", table(RUSSIAN * 1).encode("cp1251"), Taken(4, holds=RUSSIAN[0][1])),
    Case("Shift-JIS", "a.csv", table(JAPANESE).encode("shift_jis"), Taken(4, holds=JAPANESE[0][1])),
    Case(
        "Windows-1252 chosen by hand",
        "a.csv",
        _GERMAN.encode("cp1252"),
        Taken(6, holds=GERMAN[0][1]),
        options={"encoding": "cp1252"},
    ),
    Case(
        "the wrong encoding chosen by hand",
        "a.csv",
        _GERMAN.encode("cp1252"),
        Refused("offset|line"),
        options={"encoding": "utf-8"},
    ),
    Case(
        "one bad byte in UTF-8",
        "a.csv",
        (table(GERMAN) + '"Noch eine Frage?","Die Antwort ist kaputt').encode() + b"\xff" + b'e."\n',
        Taken(6, {"broken_character": [7]}),
    ),
    Case(
        "a character cut in half",
        "a.jsonl",
        jsonl(*records(3)) + '{"prompt": "Wie groß?", "response": "é'.encode()[:-1],
        Taken(3, {"broken_json": [4]}),
    ),
    Case(
        "overlong UTF-8",
        "a.csv",
        table(GERMAN).encode() + b'"What?","..\xc0\xaf..\xc0\xaf secret"\n',
        Taken(6, {"broken_character": [7]}),
    ),
    Case(
        "UTF-8 of half characters",
        "a.csv",
        table(GERMAN).encode() + b'"What?","half \xed\xa0\x80 one"\n',
        Taken(6, {"broken_character": [7]}),
    ),
    Case(
        "NUL in a CSV row", "a.csv", csv(3).encode() + b'"What?","It\0s here"\n', Taken(3, {"nul_byte": [4]})
    ),
    Case(
        "NUL in a JSON text",
        "a.jsonl",
        jsonl(*_TWO_GOOD, {"prompt": "What?", "response": "It\0s here"}),
        Taken(4, problems=frozenset({"control_characters"})),
    ),
    Case(
        "control characters",
        "a.jsonl",
        jsonl(*_TWO_GOOD, {"prompt": "\x1b[31mRed?\x07", "response": "Yes\x08\x7f."}),
        Taken(4, problems=frozenset({"control_characters"})),
    ),
    Case(
        "half a character in JSON",
        "a.jsonl",
        jsonl(*_TWO_GOOD, b'{"prompt": "x", "response": "\\ud800"}\n'),
        Taken(3, {"broken_character": [4]}),
    ),
    Case(
        "half a character in a field name",
        "a.jsonl",
        jsonl(*({**row, "\ud800": 1} for row in records(3))),
        Taken(3),
    ),
    Case(
        "a pair of halves in JSON",
        "a.jsonl",
        jsonl(*_TWO_GOOD, b'{"prompt": "smile", "response": "\\ud83d\\ude00"}\n'),
        Taken(4, holds="\U0001f600"),
    ),
    Case("old Mac line ends", "a.csv", csv(4).replace("\n", "\r").encode(), Taken(4)),
    Case(
        "three kinds of line ends",
        "a.jsonl",
        jsonl(*records(1))
        + jsonl(*records(2)[1:]).replace(b"\n", b"\r\n")
        + b"\n\r\n"
        + jsonl(*records(3)[2:]),
        Taken(3),
    ),
    Case(
        "line separators inside JSON texts",
        "a.jsonl",
        '{"prompt": "a b", "response": "b\u2028c\u2029d\u0085e"}\n{"prompt": "f g", "response": "h"}\n'.encode(),
        Taken(2, holds="b\u2028c\u2029d\u0085e"),
    ),
    Case(
        "text from right to left",
        "a.jsonl",
        jsonl(*_TWO_GOOD, {"prompt": "\u202eevil\u202c?", "response": "שלום, זה בסדר\u200f."}),
        Taken(4),
    ),
    Case(
        "mojibake",
        "a.csv",
        table([(q.encode().decode("cp1252", "replace"), a) for q, a in GERMAN[:1]] + GERMAN[1:]).encode(),
        Taken(6, problems=frozenset({"mojibake"})),
    ),
]
