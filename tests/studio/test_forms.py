from __future__ import annotations

import dataclasses

import gradio as gr
import pytest

from jobs.serving.schema import CompareSettings
from jobs.training.settings import TrainingSettings, from_json
from studio import forms
from studio.compare.asking import FIELDS as SETTINGS
from studio.tabs.model import ADVANCED, FRESH, SWEEP

FORMS = [(TrainingSettings, ADVANCED), (CompareSettings, SETTINGS)]


@pytest.mark.parametrize(("settings", "names"), FORMS)
def test_every_field_is_labelled_and_explained_by_the_settings_themselves(
    settings: type, names: list[str]
) -> None:
    known = {entry.name: entry for entry in dataclasses.fields(settings)}
    with gr.Blocks():
        fields = forms.fields_for(settings, names)
    assert list(fields) == list(names)
    for name, field in fields.items():
        assert field.label.startswith(known[name].metadata["label"])
        assert field.info == known[name].metadata["help"]
        assert (known[name].metadata["unit"] or "") in field.label


def test_an_untouched_form_asks_for_the_defaults() -> None:
    with gr.Blocks():
        fields = forms.fields_for(TrainingSettings, ADVANCED)
    said = forms.filled_in(ADVANCED, [field.value for field in fields.values()])
    assert from_json(said) == TrainingSettings()


def test_what_is_filled_in_arrives_and_empty_fields_stay_automatic() -> None:
    said = forms.filled_in(["learning_rate", "epochs", "seed", "dropout"], ["1e-4", "", "7", None])
    assert said == {"learning_rate": "1e-4", "seed": "7"}
    settings = from_json(said)
    assert (settings.learning_rate, settings.seed, settings.epochs) == (1e-4, 7, None)


def test_lists_mappings_and_boxes_arrive_as_they_are_typed_and_ticked() -> None:
    names = ["try_ranks", "rank_pattern", "use_rslora", "use_dora", "start_from"]
    with gr.Blocks():
        fields = forms.fields_for(TrainingSettings, names, {"start_from": FRESH})
    assert [fields[name].value for name in names] == ["", "", False, False, ""]
    assert fields["rank_pattern"].placeholder == "the same everywhere"
    settings = from_json(forms.filled_in(names, [SWEEP, "q_proj=4, v_proj=16", True, False, ""]))
    assert settings == TrainingSettings(
        try_ranks=(2, 4, 8, 16), rank_pattern={"q_proj": 4, "v_proj": 16}, use_rslora=True
    )


def test_values_that_only_the_page_knows_are_a_list_that_begins_with_the_usual_one() -> None:
    with gr.Blocks():
        field = forms.fields_for(TrainingSettings, ["start_from"], {"start_from": [*FRESH, ("Mine", "c21e")]})
    assert isinstance(field["start_from"], gr.Dropdown)
    assert field["start_from"].value == "" and field["start_from"].choices[1] == ("Mine", "c21e")


def test_every_setting_is_on_the_page_once() -> None:
    on_the_page = [*ADVANCED, "target_modules"]
    assert sorted(on_the_page) == sorted(entry.name for entry in dataclasses.fields(TrainingSettings))


def test_a_zero_is_a_value() -> None:
    assert forms.filled_in(["dropout"], [0]) == {"dropout": 0}


@dataclasses.dataclass
class ThreeKinds:
    """Settings with one field of each kind."""

    one_of: str = dataclasses.field(
        default="a", metadata={"label": "One", "help": "Which.", "choices": ["a", "b"]}
    )
    whether: bool = dataclasses.field(default=True, metadata={"label": "Whether", "help": "Or not."})
    steps: int | None = dataclasses.field(
        default=None, metadata={"label": "Many", "help": "How.", "unit": "steps"}
    )


def test_a_choice_is_a_list_and_a_yes_or_no_is_a_box() -> None:
    with gr.Blocks():
        fields = forms.fields_for(ThreeKinds, ["one_of", "whether", "steps"])
    assert isinstance(fields["one_of"], gr.Dropdown)
    assert isinstance(fields["whether"], gr.Checkbox)
    assert (fields["steps"].label, fields["steps"].value) == ("Many · steps", "")
