"""The settings of a comparison: every field checked, every refusal naming it."""

from __future__ import annotations

from dataclasses import fields

import pytest

from jobs.serving.schema import CompareSettings
from storage.errors import StudioError


def test_nothing_given_is_a_good_choice():
    assert CompareSettings.from_json({}) == CompareSettings()


def test_every_field_explains_itself_to_the_form():
    for spec in fields(CompareSettings):
        assert spec.metadata["label"] and spec.metadata["help"]


def test_values_survive_the_way_to_json_and_back():
    settings = CompareSettings(sides=("base", "dptr2222"), temperature=0.5, system="Be brief.")
    assert CompareSettings.from_json(settings.as_json()) == settings


def test_numbers_may_come_as_text():
    settings = CompareSettings.from_json({"max_new_tokens": "64", "temperature": "7e-1"})
    assert (settings.max_new_tokens, settings.temperature) == (64, 0.7)


@pytest.mark.parametrize(
    "values, named",
    [
        ({"max_new_tokens": 0}, r"Longest answer \(max_new_tokens\) is 0.*1 to 4096"),
        ({"max_new_tokens": 1.5}, r"Longest answer \(max_new_tokens\) is 1.5.*whole"),
        ({"max_new_tokens": True}, r"Longest answer \(max_new_tokens\) is True"),
        ({"temperature": "warm"}, r"Temperature \(temperature\) is 'warm'.*0.0 to 2.0"),
        ({"temperature": float("nan")}, r"Temperature \(temperature\) is nan"),
        ({"temperature": -1}, r"Temperature \(temperature\) is -1.*0.0 to 2.0"),
        ({"max_new_tokens": 10_000}, r"Longest answer \(max_new_tokens\) is 10000.*1 to 4096"),
        ({"max_new_tokens": 10**400}, r"Longest answer \(max_new_tokens\) is 1000"),
        ({"strength": 1.6}, r"Adapter strength \(strength\) is 1.6.*0.0 to 1.5"),
        ({"strength": 3}, r"Adapter strength \(strength\) is 3"),
        ({"seed": -1}, r"Seed \(seed\) is -1"),
        ({"sides": "base"}, "sides is 'base'"),
        ({"sides": []}, "sides is"),
        ({"sides": ["base", "base"]}, "twice"),
        ({"system": 5}, "system is 5"),
        ({"temprature": 1}, "“temprature” is not a setting.*temperature"),
    ],
)
def test_a_refusal_names_field_value_and_range(values, named):
    with pytest.raises(StudioError, match=named):
        CompareSettings.from_json(values)
