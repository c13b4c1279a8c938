"""Bring a file of the corpus, on the whole way or to the child's own function, and say what came of it."""

from __future__ import annotations

import json
import re
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.datasets import import_process, importing
from jobs.datasets.records import ReadOptions
from jobs.datasets.rows import iterate
from storage import datasets, files
from storage.errors import StudioError
from tests.jobs.datasets.hostile.cases import Case, Refused, Taken
from tests.jobs.datasets.hostile.wrong_kinds import CANARY

# Nothing in a sentence for users may show where things lie here, or what they are called in the code.
_INTERNAL = re.compile(
    r"Traceback|\.py\b|site-packages|/(root|home|work|usr|private)/|/tmp/(?!evil\.csv)|pytest|<class |object at 0x|"
    r"\bpyarrow\b|\bopenpyxl\b|\bzipfile\b|\bArrowInvalid|\b(role|is|are) None\b|\w+(Error|Exception)\b|errno|\[Errno"
)
_CONVERSATION = re.compile(r"(system )?(user assistant ?)+")


@dataclass
class Came:
    """What came of a file: the rows and what was found out about them, or the error."""

    seconds: float
    error: StudioError | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    told: Mapping[str, Any] = field(default_factory=dict)

    def usable(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["split"] in ("train", "held_out")]

    def left_out(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row in self.rows:
            if row["split"] == "left_out":
                found.setdefault(row["code"], []).append(row["row"])
        return found


def through_child(path: Path, options: Mapping[str, Any], seed: int = 0) -> Came:
    """As the page brings it."""
    began, computed = time.monotonic(), _computed()
    try:
        dataset = importing.add_dataset(path, seed=seed, options=ReadOptions.from_json(dict(options)))
    except StudioError as error:
        return Came(_computed() - computed, error)
    assert time.monotonic() - began < 60
    told = files.read_json(files.dataset_folder(dataset.id) / "dataset.json")
    return Came(_computed() - computed, None, list(iterate(dataset.id, "any")), told)


def in_process(path: Path, options: Mapping[str, Any], folder: Path) -> Came:
    """The function that the child runs, here: without its limits and without the start of a process."""
    folder.mkdir(parents=True)
    spec = {
        "do": "import",
        "path": str(path),
        "name": importing._shown_name(path.name),
        "file_name": files.slug(path.name.encode("utf-8", "replace").decode()),
        "options": dict(options),
        "seed": 0,
        "link": True,
    }
    computed = _computed()
    try:
        told = import_process.work(spec, folder, lambda words, done, total: None)
    except StudioError as error:
        return Came(_computed() - computed, error)
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_bytes().split(b"\n") if line]
    return Came(_computed() - computed, None, rows, told)


def _computed() -> float:
    """The seconds of computing so far, of this process and of those that it has waited for: other load adds nothing."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def assert_sound(came: Came) -> None:
    """What holds for every file, however it was made: a sentence with a way out, or rows that can be trained on."""
    assert not CANARY.exists(), "a pickle was loaded"
    assert not Path("/tmp/evil.csv").exists()
    if came.error is not None:
        assert_readable(came.error.message)
        assert_readable(came.error.remedy)
        assert "unexpected" not in came.error.message, came.error.message
        return
    for problem in came.told["problems"]:
        assert_readable(problem["message"])
        assert_readable(problem["fix"])
    numbers = [row["row"] for row in came.rows]
    assert numbers == sorted(set(numbers)), "every row has its own number, in order"
    for row in came.usable():
        roles = " ".join(message["role"] for message in row["messages"])
        assert _CONVERSATION.fullmatch(roles), roles
        for message in row["messages"]:
            assert message["content"].strip(), row["row"]
            assert "\ufffd" not in message["content"] or row["row"] < 0, "a character was replaced"
    # What the page is sent must be writable as UTF-8.
    json.dumps([came.rows, dict(came.told)], ensure_ascii=False).encode()


def assert_readable(sentence: str) -> None:
    """A sentence for people: not endless, no signs that steer a terminal or turn the text, nothing of the code."""
    assert re.fullmatch(r".{8,1500}[.!?”)]", sentence), f"no sentence: {sentence[:300]!r}"
    assert sentence.isprintable(), f"signs that cannot be seen: {sentence[:300]!r}"
    assert not _INTERNAL.search(sentence), sentence


def assert_expected(case: Case, came: Came) -> None:
    """That what must come of a case came of it."""
    expected = case.comes
    if isinstance(expected, Refused):
        assert came.error is not None, f"taken: {len(came.usable())} rows, {came.left_out()}"
        assert re.search(expected.says, came.error.message), came.error.message
        assert re.search(expected.do, came.error.remedy), came.error.remedy
        if case.file.isascii() and len(case.file) < 12 and not case.options:
            assert case.file in came.error.message, "it says which file"
        return
    assert isinstance(expected, Taken)
    assert came.error is None, str(came.error)
    assert len(came.usable()) == expected.rows, came.told["problems"]
    assert came.left_out() == dict(expected.left_out)
    codes = {problem["code"] for problem in came.told["problems"]}
    assert expected.problems <= codes, codes
    for what, shown in expected.detected.items():
        assert re.search(shown, came.told["detected"].get(what, "")), came.told["detected"]
    texts = [message["content"] for row in came.usable() for message in row["messages"]]
    assert not expected.holds or expected.holds in texts, texts[:4]


def left_behind(home: Path) -> list[Path]:
    """What lies about of an import that has ended with an error."""
    return [path for name in ("datasets", "tmp", "trash") for path in (home / name).iterdir()]


def stored() -> int:
    return len(datasets.list_all())
