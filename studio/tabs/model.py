"""Step 2, "Which model, and what does it cost?": base model, rank, what LoRA saves, and Start."""

from __future__ import annotations

import html
import secrets
from typing import Any

import gradio as gr

from jobs import gpu, queue
from jobs.base_models import catalogue
from jobs.lora import estimate
from jobs.training.settings import TrainingSettings
from storage import datasets
from storage.errors import StudioError
from studio import forms, layout, savings_view, words
from studio.notices import shown

PATH = "/model"
SHORT_LIST = ("Qwen/Qwen3-0.6B", "meta-llama/Llama-3.2-1B-Instruct", "Qwen/Qwen3-4B-Instruct-2507")
TARGETS = [
    ("All linear layers (learns most, the usual choice)", "all_linear"),
    ("Attention only", "attention"),
    ("Query and value only (smallest)", "query_value"),
]
ADVANCED = (
    "epochs", "learning_rate", "tokens_per_step", "max_steps", "alpha", "dropout", "layers", "held_out_share",
    "max_tokens", "precision", "seed",
)  # fmt: skip
PRIVATE: dict[str, Any] = {"api_visibility": "private"}


def build(page: gr.Blocks) -> None:
    """The page and its handlers."""
    layout.bar(PATH)
    answer = layout.question(PATH)
    with gr.Column(elem_classes="room"):
        dataset_id, click_key = gr.State(), gr.State()
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                with gr.Column(elem_classes="card"):
                    model = gr.Radio([], label="Base model", elem_id="base-model", elem_classes="stacked")
                    about = gr.HTML(apply_default_css=False, elem_id="about-model")
                    with gr.Accordion("Another model", open=False):
                        listed = gr.Dropdown([], label="From the catalogue", elem_id="catalogue")
                        named = gr.Textbox(
                            label="Any hub name, a folder, or a GGUF file", max_lines=1, elem_id="custom-model",
                            placeholder="organisation/model-name",
                            info="Only safetensors or GGUF weights; a model's own program code is never run.",
                        )  # fmt: skip
                        take = gr.Button("Use this model", size="sm")
                with gr.Column(elem_classes="card"):
                    rank = gr.Slider(
                        1, 64, value=8, step=1, label="How much it may change (rank)", elem_id="rank"
                    )
                    targets = gr.Radio(
                        TARGETS, value="all_linear", label="Where it may change (target modules)",
                        elem_id="targets", elem_classes="stacked",
                    )  # fmt: skip
                    advice = gr.HTML(apply_default_css=False)
            with gr.Column(scale=3, min_width=320, elem_classes="card"):
                saved = savings_view.build()
        advanced = gr.Accordion("Advanced: learning rate, epochs, layers …", open=False, elem_id="advanced")
        with advanced, gr.Row():
            fields = forms.fields_for(TrainingSettings, ADVANCED)
        problem = gr.HTML(apply_default_css=False, elem_id="start-problem")
        with gr.Row(elem_classes="foot"):
            gr.HTML(
                '<p class="quiet">Training runs in the background; you can close the page.</p>',
                apply_default_css=False,
            )
            start = gr.Button("Start training", variant="primary", elem_id="start", scale=0, min_width=180)

    target = layout.unseen()
    choice = [dataset_id, model, rank, targets, *fields.values()]
    cost = {
        "fn": shown(show_cost), "inputs": choice,
        "outputs": [answer, about, advice, problem, saved.bars, saved.formula],
        "trigger_mode": "always_last", **layout.DIRECT,
    }  # fmt: skip
    for changed in (model.change, rank.change, targets.change, *(field.change for field in fields.values())):
        changed(**cost)
    saved.follow(model, rank, targets, fields["layers"])

    start.click(shown(begin), [click_key, *choice], [target], **PRIVATE).success(
        None, [target], js="(target) => window.studioGo(target)", **PRIVATE
    )
    listed.input(shown(take_model), [listed], [model], show_progress="hidden", **PRIVATE)
    gr.on([take.click, named.submit], shown(take_named), [named], [model, listed], **PRIVATE)
    model.input(None, [model], js="(model) => window.studioAddress({model})", **PRIVATE)
    page.load(shown(restore), None, [dataset_id, click_key, model, listed], **PRIVATE)


def restore(request: gr.Request) -> tuple[Any, ...]:
    """What the address says: the examples and the model, else the newest examples and the starter."""
    named = layout.query(request, "dataset")
    newest = datasets.list_all()
    dataset = datasets.get(named).id if named else newest[0].id if newest else None
    chosen = layout.query(request, "model") or catalogue.STARTER_ID
    all_names = [(model_line(model), model.id) for model in catalogue.all_models()]
    return dataset, secrets.token_hex(8), take_model(chosen), gr.Dropdown(choices=all_names, value=None)


def take_model(model_id: str | None) -> Any:
    """The radio with the short list, what is on this machine, and the model that was just chosen."""
    models = catalogue.all_models()
    chosen = catalogue.find(model_id or catalogue.STARTER_ID)
    near = [
        m for m in models if m.id == chosen.id or m.kind == "starter" or m.available or m.id in SHORT_LIST
    ]
    near.sort(key=lambda m: (m.kind != "starter", not m.available, m.parameters or 0))
    return gr.Radio(choices=[(model_line(m), m.id) for m in near], value=chosen.id)


def take_named(text: str) -> tuple[Any, Any]:
    """Register a model that the user named, and choose it."""
    added = catalogue.add_custom(text)
    names = [(model_line(model), model.id) for model in catalogue.all_models()]
    return take_model(added.id), gr.Dropdown(choices=names, value=None)


def model_line(model: catalogue.BaseModel) -> str:
    """One model in a list: its name, what it takes to have it, its licence."""
    have = (
        "on this machine"
        if model.available
        else f"{words.size(model.size_bytes)} to fetch"
        if model.size_bytes
        else "to fetch"
    )
    return f"{model.name} · {have} · {model.licence or 'licence unknown'}"


def show_cost(
    dataset_id: str | None, model_id: str, rank: float, targets: str, *advanced: Any
) -> tuple[Any, ...]:
    """The answer sentence, a line about the model, advice on the rank, and what would stop Start; the memory."""
    settings = {**forms.filled_in(ADVANCED, advanced), "target_modules": targets}
    try:
        cost = estimate.estimate(model_id, rank, targets, dataset_id, settings)
    except StudioError as error:
        return (
            *[gr.skip()] * 3,
            f'<p class="wrong" role="alert">{html.escape(str(error))}</p>',
            gr.skip(),
            gr.skip(),
        )
    small = words.hover(words.count(cost["lora_parameters"]), words.exact(cost["lora_parameters"]))
    full = words.hover(words.count(cost["full_parameters"]), words.exact(cost["full_parameters"]))
    part = words.share(cost["lora_parameters"], cost["full_parameters"])
    sentence = f"Training <strong>{small} of {full}</strong> values ({part}) is enough to start"
    if cost["seconds"] is not None:
        sentence += f": about {layout.strong(words.duration(cost['seconds']))}"
        sentence += f" and {layout.strong(words.size(cost['memory_bytes']))} on this machine"
    sentence += "."
    layers = str(settings.get("layers", "all"))
    return (
        layout.answered(PATH, sentence),
        about_html(model_id, cost),
        advice_html(dataset_id),
        "",
        savings_view.memory_html(cost),
        savings_view.formula_html(model_id, rank, targets, layers, cost),
    )


def about_html(model_id: str, cost: dict[str, Any]) -> str:
    """Whether the chosen model fits this machine, in a pill and words."""
    marks = {"fits easily": "good", "fits": "", "tight": "tight", "does not fit": "wrong"}
    device = gpu.devices()[0]
    note = catalogue.find(model_id).note
    fit = cost.get("fits", "fits")
    return (
        f'<p class="quiet"><span class="pill {marks.get(fit, "")}">{html.escape(fit)}</span> '
        f"{html.escape(device.name)}. {html.escape(note or '')}</p>"
    )


def advice_html(dataset_id: str | None) -> str:
    """A sound rank for the number of examples, as advice."""
    if dataset_id is None:
        return f'<p class="quiet">No examples yet. <a href="{layout.address("/")}">Bring some first</a>.</p>'
    dataset = datasets.get(dataset_id)
    sound = 8 if dataset.train_rows < 300 else 16
    return (
        f'<p class="quiet">For {words.many(dataset.train_rows, "example")} of “{html.escape(dataset.name)}”, '
        f"rank {sound} is a sound start. Higher can hold more, and memorises sooner.</p>"
    )


def begin(
    click_key: str, dataset_id: str | None, model_id: str, rank: float, targets: str, *advanced: Any
) -> str:
    """Queue the run and return the address of its page; the same page's second click gives the same run."""
    if dataset_id is None:
        raise StudioError("There are no examples to learn from yet.", "Bring some on the Data page.")
    settings = {**forms.filled_in(ADVANCED, advanced), "target_modules": targets}
    key = f"{click_key}-{hash((dataset_id, model_id, rank, targets, *map(str, advanced)))}"
    job = queue.submit_training(dataset_id, model_id, rank, settings, request_key=key)
    return layout.address("/train", dataset=dataset_id, model=model_id, run=job.id)
