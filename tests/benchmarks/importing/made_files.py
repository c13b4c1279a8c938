"""Files to import, made by a seed: questions and answers of lengths as people have them."""

from __future__ import annotations

import csv
import json
import random
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pydoc_data import topics

FORMATS = ("csv", "jsonl", "json", "parquet", "xlsx", "zip")


@cache
def _sentences() -> list[str]:
    """About ten thousand English sentences of Python's own handbook, cut to ten words each."""
    words = re.findall(r"(?<![\w`*.])[a-zA-Z]+(?![\w`*(.=])[,;]?", " ".join(topics.topics.values()))
    return [
        f"{' '.join(words[start : start + 10]).rstrip(',;').capitalize()}."
        for start in range(0, len(words) - 9, 10)
    ]


def rows(count: int, mean_bytes: int = 500, seed: int = 0) -> Iterator[tuple[str, str]]:
    """`count` questions with answers, all different, about `mean_bytes` each, a quarter of it the question."""
    random_ = random.Random(seed)
    sentences = _sentences()
    mean = mean_bytes / (sum(map(len, sentences)) / len(sentences) + 1)
    for number in range(count):
        length = max(2, round(random_.lognormvariate(-0.125, 0.5) * mean))
        text = random_.choices(sentences, k=length)
        cut = max(1, length // 4)
        yield f"{' '.join(text[:cut])} What of {number}?", " ".join(text[cut:])


def write(folder: Path, format: str, count: int, mean_bytes: int = 500) -> Path:
    """The file of one format; made once for a folder."""
    path = folder / f"questions.{format}"
    if path.exists():
        return path
    pairs = rows(count, mean_bytes)
    if format == "csv":
        _write_csv(path, pairs)
    elif format == "zip":
        _write_csv(inside := path.with_name("inside.csv"), pairs)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(inside, "questions.csv")
        inside.unlink()
    elif format == "xlsx":
        _write_workbook(path, pairs)
    elif format == "parquet":
        _write_parquet(path, pairs)
    else:
        _write_json(path, pairs, lines=format == "jsonl")
    return path


def _write_csv(path: Path, pairs: Iterator[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("prompt", "response"))
        writer.writerows(pairs)


def _write_json(path: Path, pairs: Iterator[tuple[str, str]], lines: bool) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("" if lines else "[")
        for number, (prompt, response) in enumerate(pairs):
            file.write(",\n" if number and not lines else "")
            file.write(json.dumps({"prompt": prompt, "response": response}, ensure_ascii=False))
            file.write("\n" if lines else "")
        file.write("" if lines else "]\n")


def _write_parquet(path: Path, pairs: Iterator[tuple[str, str]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    prompts, responses = zip(*pairs, strict=True)
    pq.write_table(pa.table({"prompt": prompts, "response": responses}), path, row_group_size=50_000)


def _write_workbook(path: Path, pairs: Iterator[tuple[str, str]]) -> None:
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Questions")
    sheet.append(("prompt", "response"))
    for pair in pairs:
        sheet.append(pair)
    book.save(path)
