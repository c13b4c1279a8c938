"""CSV as it is: ragged, badly quoted, with any delimiter, far too wide, and with formulas in it."""

from __future__ import annotations

import csv as csv_module
import io

from tests.jobs.datasets.hostile.cases import Case, Refused, Taken, csv, pairs, pieces

_SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"
FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1+1)", '=HYPERLINK("http://evil.example")']


def written(rows: list[list[str]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    csv_module.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


_FOUR = csv(4).encode()
_ROWS = [list(pair) for pair in pairs(4)]

CASES = [
    Case("semicolons", "a.csv", csv(4, ";").encode(), Taken(4, detected={"Delimiter": "semicolon"})),
    Case("tabs", "a.csv", csv(4, "\t").encode(), Taken(4, detected={"Delimiter": "tab"})),
    Case("bars", "a.csv", csv(4, "|").encode(), Taken(4)),
    Case(
        "semicolons with decimal commas",
        "a.csv",
        b"prompt;response\n"
        + b"".join(
            b"What do %d,5 kg cost, please?;It is %d,95 euros, tax included.\n" % (n, n) for n in range(6)
        ),
        Taken(6, detected={"Delimiter": "semicolon"}, holds="It is 3,95 euros, tax included."),
    ),
    Case("a delimiter that Excel names", "a.csv", b"sep=;\n" + csv(4, ";").encode(), Taken(4)),
    Case(
        "the wrong delimiter chosen by hand",
        "a.csv",
        csv(4, ";").encode(),
        Refused("Row 1|column"),
        options={"delimiter": ","},
    ),
    Case(
        "too many cells",
        "a.csv",
        _FOUR + b"One,more,cells than it should\n" + b'"Last?","Fine."\n',
        Taken(5, {"broken_row": [5]}),
    ),
    Case("too few cells", "a.csv", _FOUR + b"Nobody answers this\n", Taken(4, {"empty_answer": [5]})),
    Case(
        "stray quotes",
        "a.csv",
        _FOUR + b'"He said "no" again",yes\n' + b'"Last?","Fine."\n',
        Taken(5, {"broken_row": [5]}),
    ),
    Case(
        "an open quote",
        "a.csv",
        b'prompt,response\nOne?,Two.\nThree?,"Four.\nFive?,Six.\nSeven?,Eight.\n',
        Refused("line 3 is never closed", "[Cc]lose|[Dd]ouble"),
    ),
    Case(
        "quotes escaped with backslashes",
        "a.csv",
        _FOUR + b'"Say \\"hi\\" now","ok"\n',
        Taken(4, {"broken_row": [5]}),
    ),
    Case(
        "the same column twice",
        "a.csv",
        b"prompt,prompt,response\na,b,c\nd,e,f\n",
        Refused("more than one column named “prompt”", "name"),
    ),
    Case(
        "columns without names",
        "a.csv",
        written([["prompt", "", "response", ""], *([q, "x", a, "y"] for q, a in _ROWS)]),
        Taken(4),
    ),
    Case(
        "no header",
        "a.csv",
        written([[q, a] for q, a in pairs(4)]),
        Taken(4, problems=frozenset({"no_header"})),
    ),
    Case(
        "a title above the header",
        "a.csv",
        written([["Support export of 2026-03-01", ""], ["", ""], ["prompt", "response"], *_ROWS]),
        Taken(4),
    ),
    Case("empty lines between rows", "a.csv", _FOUR.replace(b"\n", b"\n\n\n"), Taken(4)),
    Case("one column", "a.csv", b"text\nhello you\nhello me\n", Refused("“text”", "prompt")),
    Case(
        "only numbers", "a.csv", b"id,price,stock\n1,2,3\n4,5,6\n7,8,9\n", Refused("“id”, “price”", "prompt")
    ),
    Case(
        "three unknown columns",
        "a.csv",
        written([["eins", "zwei", "drei"], *([q, a, q + a] for q, a in _ROWS)]),
        Refused("“eins”, “zwei”, “drei”", "prompt"),
    ),
    Case(
        "three unknown columns chosen by hand",
        "a.csv",
        written([["eins", "zwei", "drei"], *([q, a, "xyz"] for q, a in _ROWS)]),
        Taken(4, holds=_ROWS[0][1]),
        options={"mapping": {"prompt": "eins", "response": "zwei"}},
    ),
    Case(
        "a column chosen that is not there",
        "a.csv",
        _FOUR,
        Refused("“nonsense”"),
        options={"mapping": {"prompt": "nonsense", "response": "response"}},
    ),
    Case(
        "nonsense chosen as a part",
        "a.csv",
        _FOUR,
        Refused("mapping|part|“prom”|prom"),
        options={"mapping": {"prom": "prompt"}},
    ),
    Case("an unknown encoding chosen", "a.csv", _FOUR, Refused("encoding"), options={"encoding": "utf-9"}),
    Case("an encoding that is no text", "a.csv", _FOUR, Refused("encoding"), options={"encoding": "zlib"}),
    Case(
        "an encoding that runs escapes",
        "a.csv",
        _FOUR,
        Refused("encoding"),
        options={"encoding": "unicode_escape"},
    ),
    Case(
        "a delimiter of three characters", "a.csv", _FOUR, Refused("delimiter"), options={"delimiter": "abc"}
    ),
    Case("a line end as delimiter", "a.csv", _FOUR, Refused("delimiter"), options={"delimiter": "\n"}),
    Case(
        "options of the wrong kind",
        "a.csv",
        _FOUR,
        Refused("encoding|mapping|delimiter"),
        options={"encoding": 7, "mapping": ["prompt"], "delimiter": {}},
    ),
    Case(
        "an option that is not known", "a.csv", _FOUR, Refused("“colour”|colour"), options={"colour": "red"}
    ),
    Case(
        "a file that is no workbook with a sheet chosen",
        "a.csv",
        _FOUR,
        Refused("sheet “Answers”"),
        options={"sheet": "Answers"},
    ),
    Case(
        "ten thousand columns",
        "a.csv",
        written(
            [
                ["prompt", "response", *(f"c{n}" for n in range(10_000))],
                *([*row, *["x"] * 10_000] for row in _ROWS),
            ]
        ),
        Taken(4),
    ),
    Case(
        "a cell of 140,000 characters", "a.csv", _FOUR + b'"Long?","' + b"word " * 28_000 + b'"\n', Taken(5)
    ),
    Case(
        "a cell of 100 MB",
        "a.csv",
        pieces(_FOUR, b'"Long?","', (b"word ", 20_000_000), b'"\n', b'"Last?","Fine."\n'),
        Taken(5, {"too_large": [5]}),
        whole_way=True,
    ),
    Case(
        "a line of 100 MB",
        "a.csv",
        pieces(_FOUR, (b"word ", 20_000_000), b"\n", b'"Last?","Fine."\n'),
        Taken(5, {"too_large": [5]}),
        whole_way=True,
    ),
    Case(
        "a quote open for 100 MB",
        "a.csv",
        pieces(_FOUR, b'"Long?","', (b"word word\n", 10_000_000)),
        Refused(r"line 6"),
        whole_way=True,
    ),
    Case("a million commas", "a.csv", _FOUR + b"," * 1_000_000 + b"x\n", Taken(4, {"broken_row": [5]})),
    Case(
        "formulas",
        "a.csv",
        written([["prompt", "response"], *([f, f"Answer to {f}"] for f in FORMULAS), *_ROWS]),
        Taken(9, holds="=cmd|' /C calc'!A0"),
    ),
    Case(
        "scripts in cells",
        "a.csv",
        written([["prompt", "response"], [_SCRIPT, f"{_SCRIPT} you"], *_ROWS]),
        Taken(5, holds=_SCRIPT),
    ),
    Case(
        "scripts in the header",
        "a.csv",
        written([[_SCRIPT, f"{_SCRIPT} 2", f"{_SCRIPT} 3"], *([q, a, "some text"] for q, a in _ROWS)]),
        Refused("column", "prompt"),
    ),
    Case(
        "a column name of a megabyte",
        "a.csv",
        written([["a" * 1_000_000, "b" * 1_000_000, "c"], *([q, a, "some text"] for q, a in _ROWS)]),
        Refused("column|cells|characters"),
    ),
]
