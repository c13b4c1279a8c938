"""The page of a run as the server makes it, before any script of the page has run."""

from __future__ import annotations

import dataclasses

from studio.tabs import train
from tests.studio.test_tables import JOB

RUNNING = dataclasses.replace(
    JOB, status="running", step=1200, total_steps=3600, phase="Training", notes=["Packed <tightly>."]
)


def test_the_first_html_of_a_run_is_not_empty() -> None:
    shown = train.run_html(RUNNING)
    assert ">Step 1,200 of 3,600<" in shown
    assert 'aria-valuenow="33"' in shown
    assert ">Training<" in shown
    assert "<li>Packed &lt;tightly&gt;.</li>" in shown
    assert " hidden" not in train.how_html(RUNNING)


def test_a_run_that_has_said_nothing_shows_no_empty_list() -> None:
    assert 'data-part="how" hidden' in train.run_html(JOB)
    assert ">Getting ready<" in train.run_html(JOB)


def test_an_ended_run_no_longer_does_what_it_did_last() -> None:
    assert ">Training<" not in train.progress_html(dataclasses.replace(RUNNING, status="finished"))


def test_only_a_sweep_has_a_table_of_trials() -> None:
    trial = {"rank": 4, "learning_rate": 5e-4, "best_held_out_loss": 1.2, "best_step": 10}
    assert train.trials_html(JOB) == ""
    assert train.trials_html(dataclasses.replace(JOB, result={"trials": [trial], "best_trial": 0})) == ""
    sweep = dataclasses.replace(JOB, result={"trials": [trial, {**trial, "rank": 8}], "best_trial": 1})
    assert "What was tried" in train.trials_html(sweep)


def test_settings_are_said_as_the_form_shows_them() -> None:
    settings = {
        "try_ranks": [2, 4],
        "rank_pattern": {"q_proj": 8},
        "target_modules": "query_value",
        "use_dora": True,
    }
    shown = train.facts_html(dataclasses.replace(JOB, settings=settings))
    assert "try ranks 2, 4; rank pattern q_proj=8; target modules query value; use dora yes" in shown
