"""Step 2, "Which model, and what does it cost?": base model, rank, what LoRA saves, and Start."""

from __future__ import annotations

import html
import secrets
from typing import Any

import gradio as gr

from jobs import gpu, queue
from jobs.base_models import catalogue
from jobs.lora import estimate
from jobs.training.settings import TrainingSettings, as_text, from_json
from storage import adapters, datasets, files
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
# The rarer settings, by what they are about.
GROUPS = {
    "How it learns": (
        "epochs", "learning_rate", "tokens_per_step", "max_steps", "held_out_share", "train_share", "max_tokens",
        "precision", "seed", "scorecard",
    ),
    "What is trained": (
        "layers", "alpha", "rank_pattern", "dropout", "lora_plus_ratio", "use_rslora", "use_dora",
    ),
    "Where it starts, and what is tried": ("start_from", "try_ranks", "try_learning_rates"),
}  # fmt: skip
ADVANCED = tuple(name for names in GROUPS.values() for name in names)
# What an earlier adapter's settings say of the adapter itself: to go on from it, these must be the same.
OF_THE_ADAPTER = ("layers", "alpha", "rank_pattern", "use_rslora", "use_dora")
FRESH = [("A fresh adapter", "")]
SWEEP = "2, 4, 8, 16"
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
                    sweep = gr.Checkbox(
                        label=f"Try ranks {SWEEP} and keep the best on held-out examples", elem_id="sweep",
                        info="One adapter for each rank is trained on the same examples, side by side.",
                    )  # fmt: skip
                    targets = gr.Radio(
                        TARGETS, value="all_linear", label="Where it may change (target modules)",
                        elem_id="targets", elem_classes="stacked",
                    )  # fmt: skip
                    advice = gr.HTML(apply_default_css=False)
            with gr.Column(scale=3, min_width=320, elem_classes="card"):
                saved = savings_view.build()
        advanced = gr.Accordion("Advanced: learning rate, epochs, layers …", open=False, elem_id="advanced")
        with advanced:
            fields = {}
            for heading, names in GROUPS.items():
                gr.HTML(f"<h2>{heading}</h2>", apply_default_css=False)
                with gr.Row():
                    fields |= forms.fields_for(TrainingSettings, names, {"start_from": FRESH})
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
    saved.follow(model, rank, targets, *(fields[name] for name in ("layers", "rank_pattern", "use_dora")))
    several = fields["try_ranks"]
    sweep.input(lambda wanted: SWEEP if wanted else "", [sweep], [several], **layout.DIRECT)
    # Not `input`, which Gradio leaves out when a field becomes empty.
    several.change(several_named, [several], [sweep, rank], **layout.DIRECT)
    earlier = fields["start_from"]
    model.change(shown(earlier_adapters), [model], [earlier], **layout.DIRECT)
    alike = [rank, targets, *(fields[name] for name in OF_THE_ADAPTER)]
    earlier.input(shown(as_before), [earlier], alike, show_progress="hidden", **PRIVATE)

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
    newest = datasets.families()
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


def several_named(ranks: str) -> tuple[bool, Any]:
    """The choice to try ranks as the field with them says, and the rank itself, which does not count then."""
    some = bool(ranks.strip())
    return some, gr.Slider(interactive=not some)


def earlier_adapters(model_id: str) -> Any:
    """What a run on this model may start from: nothing, or one of its adapters, newest first."""
    found = [(f"{adapter.name} · {adapter.id}", adapter.id) for adapter in adapters.list_all(model_id)]
    return gr.Dropdown(choices=FRESH + found, value="")


def as_before(adapter_id: str) -> tuple[Any, ...]:
    """Rank, modules and kind as an earlier adapter has them, because a run that goes on from it needs the same."""
    if not adapter_id:
        return (gr.skip(),) * (2 + len(OF_THE_ADAPTER))
    adapter = adapters.get(adapter_id)
    settings = from_json(adapter.settings)
    modules = "all_linear" if settings.target_modules == "auto" else settings.target_modules
    known = modules in [value for _, value in TARGETS]
    kind = [getattr(settings, name) for name in OF_THE_ADAPTER]
    return (
        gr.Slider(value=adapter.rank, maximum=max(64, adapter.rank)),
        modules if known else gr.skip(),
        *(value if isinstance(value, bool) else as_text(value) for value in kind),
    )


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
    return (
        layout.answered(PATH, sentence),
        about_html(model_id, cost, disk_words(model_id, rank, settings)),
        advice_html(dataset_id),
        "",
        savings_view.memory_html(cost),
        savings_view.formula_html(cost),
    )


def disk_words(model_id: str, rank: float, settings: dict[str, Any]) -> str:
    """How much room on the disk the run needs beside what is free."""
    checked = from_json(settings)
    needed = queue.disk_bytes(catalogue.find(model_id), checked.try_ranks or (int(rank),), checked)
    free = files.free_bytes()
    said = f"It needs about {words.size(needed)} of disk, {words.size(free)} free."
    return f'<span class="wrong">{said}</span>' if needed > free else said


def about_html(model_id: str, cost: dict[str, Any], disk: str) -> str:
    """Whether the chosen model fits this machine, in a pill and words; `disk` is HTML already."""
    marks = {"fits easily": "good", "fits": "", "tight": "tight", "does not fit": "wrong"}
    device = gpu.devices()[0]
    note = catalogue.find(model_id).note
    fit = cost.get("fits", "fits")
    return (
        f'<p class="quiet"><span class="pill {marks.get(fit, "")}">{html.escape(fit)}</span> '
        f"{html.escape(device.name)}. {disk} {html.escape(note or '')}</p>"
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
