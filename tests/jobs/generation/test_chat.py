"""Tokens and templates: the same as transformers', and exactly what generation will see."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from jobs.generation import chat as chat_module
from jobs.generation.chat import ChatFormat
from storage.errors import StudioError

TURNS = [
    {"role": "system", "content": "Answer in JSON."},
    {"role": "user", "content": "the quick brown fox\n"},
    {"role": "assistant", "content": ' {"fox": "brown 🦊"} '},
    {"role": "user", "content": "and the user?"},
    {"role": "assistant", "content": "the assistant"},
]


def with_template(model: Path, folder: Path, template: str | None, **config: str | None) -> Path:
    """The model's tokenizer under another chat template."""
    folder.mkdir()
    for name in ("tokenizer.json", "config.json", "tokenizer_config.json"):
        shutil.copy(model / name, folder / name)
    written = json.loads((folder / "tokenizer_config.json").read_text())
    written.update(config)
    del written["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(written))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def learned_text(example) -> str:
    pairs = zip(example.pieces, example.learned, strict=True)
    return "".join(piece for piece, is_learned in pairs if is_learned)


def assert_same_as_transformers(folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(folder), ChatFormat.load(folder)
    for messages in (TURNS, TURNS[1:], TURNS[:2], TURNS[1:2]):
        for prompt in (False, True):
            text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            assert ours.render(messages, add_generation_prompt=prompt) == text
        ids = theirs.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        assert ours.prompt_ids(messages) == ids
    assert ours.example(TURNS).token_ids == theirs.apply_chat_template(TURNS)["input_ids"]


def test_text_and_tokens_equal_transformers_on_the_tiny_model(tiny_model: Path) -> None:
    assert_same_as_transformers(tiny_model)


@pytest.mark.starter
def test_text_and_tokens_equal_transformers_on_the_starter(starter_model: Path) -> None:
    assert_same_as_transformers(starter_model)


TRICKY = (
    "{% for message in messages %}\n    {%- if message.role == 'system' %}{% continue %}{% endif %}\n"
    "    {% generation %}[{{ message | tojson }}]{% endgeneration %}\n"
    "{% endfor %}{{ bos_token }}{{ strftime_now('%Y') }}{{ tools is none }}{{ unknown }}"
)


def test_extras_of_the_template_language_work_as_in_transformers(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = with_template(tiny_model, tmp_path / "m", TRICKY)
    theirs, ours = AutoTokenizer.from_pretrained(folder), ChatFormat.load(folder)
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "a <b> & 'ü'"}]
    assert ours.render(messages) == theirs.apply_chat_template(messages, tokenize=False)


def test_a_template_cannot_leave_its_sandbox(tiny_model: Path, tmp_path: Path) -> None:
    folder = with_template(
        tiny_model, tmp_path / "m", "{{ messages.__class__.__mro__ }}{{ messages.clear() }}"
    )
    with pytest.raises(StudioError):
        ChatFormat.load(folder).render(TURNS)


def test_every_answer_and_its_end_is_learned_and_nothing_else(tiny_model: Path) -> None:
    chat = ChatFormat.load(tiny_model)
    example = chat.example(TURNS)
    assert "".join(example.pieces) == chat.render(TURNS)
    assert learned_text(example) == ' {"fox": "brown 🦊"} <|im_end|>the assistant<|im_end|>'
    assert example.cut == 0


def test_the_prompt_is_a_prefix_of_what_training_sees(tiny_model: Path) -> None:
    chat = ChatFormat.load(tiny_model)
    for turns in (TURNS, TURNS[:3]):
        prompt = chat.prompt_ids(turns[:-1])
        example = chat.example(turns)
        assert example.token_ids[: len(prompt)] == prompt
        assert example.learned[len(prompt)]


def test_a_token_that_would_span_question_and_answer_is_split(tiny_model: Path, tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ m.role + ' ' + m.content }}"
        "{% if m.role == 'assistant' %}<|im_end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}assistant a{% endif %}"
    )
    chat = ChatFormat.load(with_template(tiny_model, tmp_path / "m", template))
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "and the fox"}]
    prompt = chat.prompt_ids(turns[:1])
    assert chat._encode(chat.render(turns))[: len(prompt)] != prompt, "the case needs a spanning token"
    example = chat.example(turns)
    assert example.token_ids[: len(prompt)] == prompt
    assert learned_text(example) == "nd the fox<|im_end|>"


def test_a_template_that_forgets_earlier_answers_is_right_for_the_last(
    tiny_model: Path, tmp_path: Path
) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and not loop.last %}(…){% else %}{{ m.content }}{% endif %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    chat = ChatFormat.load(with_template(tiny_model, tmp_path / "m", template))
    example = chat.example(TURNS)
    prompt = chat.prompt_ids(TURNS[:-1])
    assert example.token_ids[: len(prompt)] == prompt
    assert learned_text(example).endswith("the assistant<|im_end|>")


def test_an_answer_head_that_the_full_text_lacks_still_stands_before_the_answer(
    tiny_model: Path, tmp_path: Path
) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think></think>{% endif %}"
    )
    chat = ChatFormat.load(with_template(tiny_model, tmp_path / "m", template))
    example = chat.example(TURNS[:3])
    assert "".join(example.pieces).endswith('<think></think> {"fox": "brown 🦊"} <|im_end|>\n')
    assert learned_text(example) == ' {"fox": "brown 🦊"} <|im_end|>'


def test_without_a_template_the_plain_one_is_used(tiny_model: Path, tmp_path: Path) -> None:
    chat = ChatFormat.load(with_template(tiny_model, tmp_path / "m", None))
    assert not chat.has_own_template
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "the fox"},
    ]
    assert chat.render(turns) == "System: s\n\nUser: u\n\nAssistant: the fox<|im_end|>"
    example = chat.example(turns)
    assert learned_text(example) == " the fox<|im_end|>"
    learned = [i for i, is_learned in zip(example.token_ids, example.learned, strict=True) if is_learned]
    assert chat.decode(learned) == "the fox"


def test_an_answer_without_an_end_gets_one(tiny_model: Path, tmp_path: Path) -> None:
    template = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}" + (
        "{% if add_generation_prompt %}### assistant:\n{% endif %}"
    )
    chat = ChatFormat.load(with_template(tiny_model, tmp_path / "m", template))
    example = chat.example(TURNS)
    assert learned_text(example).endswith("the assistant<|im_end|>")
    assert example.token_ids[-1] in chat.stop_ids and example.learned[-1]
    assert "".join(example.pieces).count("<|im_end|>") == 1


def test_the_beginning_token_is_not_doubled(tiny_model: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, processors

    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    folder = with_template(tiny_model, tmp_path / "m", template)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    assert ChatFormat.load(folder).example(TURNS).token_ids.count(0) == 1
    (folder / "chat_template.jinja").unlink()
    plain = ChatFormat.load(folder).example(TURNS[1:3]).token_ids
    assert plain[0] == 0 and plain.count(0) == 1


def test_cutting_takes_from_the_end_and_counts(tiny_model: Path) -> None:
    chat = ChatFormat.load(tiny_model)
    whole, short = chat.example(TURNS), chat.example(TURNS, max_tokens=20)
    assert short.token_ids == whole.token_ids[:20]
    assert len(short.learned) == len(short.pieces) == 20
    assert short.cut == len(whole.token_ids) - 20


def test_a_refusal_carries_the_templates_own_words(tiny_model: Path, tmp_path: Path) -> None:
    template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    )
    chat = ChatFormat.load(with_template(tiny_model, tmp_path / "m", template))
    with pytest.raises(StudioError, match="System role not supported"):
        chat.render(TURNS)


def test_a_broken_template_and_a_missing_tokenizer_are_named(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="chat template of m cannot be read"):
        ChatFormat.load(with_template(tiny_model, tmp_path / "m", "{% for %}"))
    with pytest.raises(StudioError, match=r"tokenizer\.json"):
        ChatFormat.load(tmp_path)


def test_stop_tokens_come_from_model_and_template(tiny_model: Path, tmp_path: Path) -> None:
    folder = with_template(
        tiny_model,
        tmp_path / "m",
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
        eos_token=None,
    )
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 1]}')
    (folder / "config.json").write_text("{}")
    assert ChatFormat.load(folder).stop_ids == {0, 1, 2}


def test_many_conversations_at_once_are_the_tokens_of_each_alone(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_module, "BATCH_ROWS", 4)
    talk = TURNS[1:]
    conversations = [TURNS, talk, TURNS[:2], TURNS[:3], talk[:2], talk * 3, [*talk, TURNS[1]], *[talk] * 3]
    no_system = "{% if messages[0].role == 'system' %}{{ raise_exception('No system.') }}{% endif %}"
    unended = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" + (
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    for number, template in enumerate((None, no_system + unended)):
        chat = ChatFormat.load(with_template(tiny_model, tmp_path / str(number), template))
        for messages, found in zip(conversations, chat.examples(conversations), strict=True):
            try:
                alone = chat.example(messages)
            except StudioError as error:
                assert isinstance(found, StudioError) and found.message == error.message
            else:
                assert found == (alone.token_ids, alone.learned)
