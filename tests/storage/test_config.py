"""Arguments win over the environment, and the environment over defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import config


def test_the_argument_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_TAILOR_HOME", str(tmp_path / "from-environment"))
    assert config.from_environment().data_dir == tmp_path / "from-environment"
    assert config.from_environment(data_dir=tmp_path / "given").data_dir == tmp_path / "given"


def test_without_either_it_is_a_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORA_TAILOR_HOME", raising=False)
    assert config.from_environment().data_dir.is_relative_to(Path.home())


def test_the_database_is_a_file_in_the_data_folder_unless_a_url_is_given(tmp_path: Path) -> None:
    assert config.from_environment(tmp_path).database_url == f"sqlite:///{tmp_path}/studio.db"
    assert config.from_environment(tmp_path, "postgresql://x/y").database_url == "postgresql://x/y"


def test_the_url_may_stand_in_the_environment_where_no_password_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_TAILOR_DATABASE_URL", "postgresql://me:trout@x/y")
    assert config.from_environment(tmp_path).database_url == "postgresql://me:trout@x/y"
    assert config.from_environment(tmp_path, "sqlite:////given.db").database_url == "sqlite:////given.db"
    monkeypatch.setenv("LORA_TAILOR_DATABASE_URL", "")
    assert config.from_environment(tmp_path).database_url == f"sqlite:///{tmp_path}/studio.db"


def test_secrets_are_not_in_the_repr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_TAILOR_PASSWORD", "swordfish")
    made = config.from_environment(tmp_path, "postgresql://me:trout@x/y")
    assert made.password == "swordfish"
    assert "swordfish" not in repr(made) and "trout" not in repr(made)


def test_an_empty_password_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_TAILOR_PASSWORD", "")
    assert config.from_environment(tmp_path).password is None


@pytest.mark.parametrize(("said", "stops"), [("1", True), ("", False), (None, False)])
def test_jobs_end_with_the_page_only_where_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, stops: bool
) -> None:
    monkeypatch.delenv("LORA_TAILOR_STOP_JOBS", raising=False)
    if said is not None:
        monkeypatch.setenv("LORA_TAILOR_STOP_JOBS", said)
    assert config.from_environment(tmp_path).stop_jobs is stops


def test_a_process_never_guesses_its_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_current", None)
    with pytest.raises(RuntimeError):
        config.current()
