"""The rows of a dataset as a Hugging Face dataset; for job processes, never for the page."""

from __future__ import annotations

from datasets import Dataset, Features, Value

from jobs.datasets.rows import load_rows

FEATURES = Features(
    {
        "row": Value("int64"),
        "messages": [{"role": Value("string"), "content": Value("string")}],
        "split": Value("string"),
    }
)


def load_split(dataset_id: str, split: str) -> Dataset:
    """The rows of one split ("train" or "held_out") as an in-memory Arrow table.

    Not `Dataset.from_json`: Arrow's JSON reader takes answers such as "2024-01-02" for times and, even with
    string features given, hands them back as "2024-01-02 00:00:00".
    """
    rows = load_rows(dataset_id, split)
    return Dataset.from_dict(
        {column: [row[column] for row in rows] for column in FEATURES}, features=FEATURES
    )
