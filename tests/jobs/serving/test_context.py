"""What the model can read is counted to the token before anybody is asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jobs.base_models import catalogue
from jobs.generation.chat import ChatFormat
from jobs.serving.context import check_context, fits
from jobs.serving.schema import SideRequest
from storage.errors import StudioError

MESSAGES = [{"role": "user", "content": "the quick brown fox " * 10}]


def model(tiny_model: Path, folder: Path, limit: int | None) -> str:
    """The tiny model, as if it read so many tokens."""
    shutil.copytree(tiny_model, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": limit}))
    return catalogue.add_custom(str(folder)).id


def test_a_prompt_has_to_leave_room_for_one_token(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    tokens = len(ChatFormat.load(tiny_model).prompt_ids(MESSAGES))
    enough = model(tiny_model, tmp_path / "enough", tokens + 1)
    short = model(tiny_model, tmp_path / "short", tokens)
    base, other = SideRequest("base", "Base model", MESSAGES), SideRequest("similar", "Three more", MESSAGES)
    check_context(enough, [base, other])
    with pytest.raises(StudioError, match=rf"^The prompt has {tokens} tokens.*at most {tokens}\."):
        check_context(short, [base])
    with pytest.raises(StudioError, match=rf"The prompt for “Three more” has {tokens} tokens"):
        check_context(short, [SideRequest("base", "Base model", MESSAGES[:0]), other])


def test_with_room_for_a_whole_answer(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    tokens = len(ChatFormat.load(tiny_model).prompt_ids(MESSAGES))
    limited = model(tiny_model, tmp_path / "limited", tokens + 64)
    assert fits(limited, MESSAGES) and fits(limited, MESSAGES, 64) and not fits(limited, MESSAGES, 65)
    less = model(tiny_model, tmp_path / "less", tokens + 63)
    assert not fits(less, MESSAGES)
    endless = model(tiny_model, tmp_path / "endless", None)
    assert fits(endless, MESSAGES, 10**9) and fits("starter", MESSAGES, 10**9), "nothing is known of those"
