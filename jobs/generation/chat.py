"""How a conversation becomes the exact text and tokens that one base model expects.

Used by the page (token view), training and generation alike, so it needs neither torch nor transformers:
`tokenizers` encodes, and the model's own Jinja chat template renders in the same sandbox that
`transformers.PreTrainedTokenizerBase.apply_chat_template` uses.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from storage.errors import StudioError

# For base models that were never taught to chat. The question ends without a space ("Assistant:"), because
# nearly all vocabularies join the space with the first word of the answer.
PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if not loop.first %}{{ '\\n\\n' }}{% endif %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)

# Rows encoded together: enough for all cores.
BATCH_ROWS = 512

Message = Mapping[str, str]


@dataclass(frozen=True)
class TokenizedExample:
    """One conversation as tokens; `learned`, `pieces` have one entry per token, `cut` counts lost tokens."""

    token_ids: list[int]
    learned: list[bool]
    pieces: list[str]
    cut: int


@dataclass(frozen=True)
class _Joined:
    """A conversation's tokens: the spans of them that are learned, the texts they were made of, and the end
    that was put behind those because they had none."""

    token_ids: list[int]
    spans: list[tuple[int, int]]
    parts: list[str]
    added_eos: int | None


class _GenerationTag(jinja2.ext.Extension):
    """Lets `{% generation %}…{% endgeneration %}` stand in a template; it marks, and changes no text."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    # Jinja's own filter escapes HTML, which would put \u003c into prompts.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _compile(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment.from_string(template)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _template_of(folder: Path, tokenizer_config: Mapping[str, Any]) -> str | None:
    """The model's chat template: a file of its own first, then tokenizer_config.json (text or named list)."""
    own_file = folder / "chat_template.jinja"
    if own_file.exists():
        return own_file.read_text(encoding="utf-8")
    template = tokenizer_config.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template


def today_of(folder: Path) -> str | None:
    """Today's date, where the model's chat template writes it into every conversation; else None."""
    template = _template_of(folder, _read_json(folder / "tokenizer_config.json"))
    return datetime.now().date().isoformat() if template and "strftime_now" in template else None


def _special_tokens(folder: Path, tokenizer_config: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token`, `eos_token`, … as text, as templates may name them."""
    named = {**_read_json(folder / "special_tokens_map.json"), **tokenizer_config}
    texts = {
        name: value["content"] if isinstance(value, dict) else value
        for name, value in named.items()
        if name.endswith("_token")
    }
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _marked(length: int, spans: Iterable[tuple[int, int]]) -> list[bool]:
    """Whether each of `length` tokens lies in one of the spans (start, end)."""
    marked = [False] * length
    for start, end in spans:
        marked[start:end] = [True] * max(0, end - start)
    return marked


class ChatFormat:
    """One base model's chat template and tokenizer."""

    def __init__(
        self, folder: Path, tokenizer: Tokenizer, template: str | None, tokens: dict[str, str]
    ) -> None:
        self._tokenizer = tokenizer
        self._tokens = tokens
        self.has_own_template = template is not None
        if template is None:
            with_bos = tokenizer.encode("a").ids[:1] == [tokenizer.token_to_id(tokens.get("bos_token", ""))]
            self._tokens = {**tokens, "bos_token": tokens["bos_token"] if with_bos else ""}
        try:
            self._template = _compile(template or PLAIN_TEMPLATE)
        except jinja2.TemplateSyntaxError as error:
            raise StudioError(
                f"The chat template of {folder.name} cannot be read: {error.message} (line {error.lineno}).",
                "Fetch the model again, or choose another base model.",
            ) from error
        added = tokenizer.get_added_tokens_decoder()
        self._added_ids = frozenset(added)
        eos_id = tokenizer.token_to_id(tokens["eos_token"]) if "eos_token" in tokens else None
        self.stop_ids = self._find_stop_ids(folder, eos_id)
        self._end_ids = self.stop_ids | {token_id for token_id, token in added.items() if token.special}
        self._eos_id = eos_id if eos_id is not None else min(self.stop_ids, default=None)
        pad_id = tokenizer.token_to_id(tokens["pad_token"]) if "pad_token" in tokens else None
        self.pad_id: int = next((i for i in (pad_id, self._eos_id) if i is not None), 0)

    @classmethod
    def load(cls, folder: Path) -> ChatFormat:
        """Read template and tokenizer of a model folder.

        Raises:
            StudioError: there is no readable tokenizer.json, or the template is broken.
        """
        folder = Path(folder)
        path = folder / "tokenizer.json"
        if not path.exists():
            raise StudioError(
                f"The model folder {folder.name} has no tokenizer.json.",
                "Choose a model that brings its tokenizer in this format; nearly all recent models do.",
            )
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        config = _read_json(folder / "tokenizer_config.json")
        return cls(folder, tokenizer, _template_of(folder, config), _special_tokens(folder, config))

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
        """The conversation as the model's own text, with the head of an answer if one is to be generated.

        Raises:
            StudioError: the template refuses the conversation; it carries the template's own words.
        """
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                # Models that can think aloud answer directly: examples hold answers, not thoughts.
                enable_thinking=False,
                **self._tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError, AttributeError) as error:
            raise StudioError(
                f"This model's chat template refuses the conversation: {error}",
                "Change the rows so that they fit the model (often: no system text, and questions and answers"
                " in turn), or choose another base model.",
            ) from error

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens from which an answer to `messages` is generated."""
        return self._encode(self.render(messages, add_generation_prompt=True))

    def prompt_and_answer(self, messages: Sequence[Message], answer: str) -> tuple[list[int], int]:
        """The tokens of a conversation that ends with `answer`, and how many of them are the answer's own.

        Those are what training would learn: the answer's text and the end of its turn, and no blanks behind it.
        """
        texts = self._texts([*messages, {"role": "assistant", "content": answer}])
        joined = self._joined(texts, [self._encode(text) for text in texts])
        start, end = joined.spans[-1]
        return joined.token_ids[:end], end - start

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of an answer, without special tokens."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text if self.has_own_template else text.removeprefix(" ")

    def example(self, messages: Sequence[Message], max_tokens: int | None = None) -> TokenizedExample:
        """The conversation up to its last answer, as training sees it.

        An answer is learned, with its end-of-turn token, where the tokens before it are exactly the prompt
        that generation would see for it. That always holds for the last answer. It fails for earlier ones in
        templates that rewrite the past (dropping thoughts, say); those answers are read but not learned.
        """
        texts = self._texts(messages)
        joined = self._joined(texts, [self._encode(text) for text in texts])
        pieces = self._pieces(joined.parts)
        if joined.added_eos is not None:
            pieces = [
                *pieces[: len(joined.token_ids) - 1],
                self._tokenizer.id_to_token(joined.added_eos) or "",
            ]
        return self._cut(joined.token_ids, joined.spans, pieces, max_tokens)

    def examples(
        self, conversations: Iterable[Sequence[Message]]
    ) -> Iterator[tuple[list[int], list[bool]] | StudioError]:
        """`example`'s tokens and what of them is learned, many at a time; errors stand in a row's place."""
        rest = iter(conversations)
        while batch := list(itertools.islice(rest, BATCH_ROWS)):
            texts = [self._texts_or_error(messages) for messages in batch]
            flat = [text for found in texts if not isinstance(found, StudioError) for text in found]
            # On all cores, and without working out where each token stands in the text.
            encoded = iter(self._tokenizer.encode_batch_fast(flat, add_special_tokens=False))
            for found in texts:
                if isinstance(found, StudioError):
                    yield found
                else:
                    joined = self._joined(found, [next(encoded).ids for _ in found])
                    yield joined.token_ids, _marked(len(joined.token_ids), joined.spans)

    def _texts_or_error(self, messages: Sequence[Message]) -> list[str] | StudioError:
        try:
            return self._texts(messages)
        except StudioError as error:
            return error

    def _texts(self, messages: Sequence[Message]) -> list[str]:
        """The texts whose tokens tell what is learned: for each answer its prompt, and the text through it.

        The last answer's come first. Without an answer, the whole conversation alone.
        """
        answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        if not answers:
            return [self.render(messages)]
        last = answers[-1]
        prompt = self.render(messages[:last], add_generation_prompt=True)
        texts = [prompt, prompt + self._answer_text(messages[: last + 1], prompt)]
        for i in answers[:-1]:
            texts.append(self.render(messages[:i], add_generation_prompt=True))
            texts.append(self.render(messages[: i + 1]).rstrip())
        return texts

    def _joined(self, texts: Sequence[str], encoded: Sequence[list[int]]) -> _Joined:
        """One conversation's tokens, from what `_texts` gave and its tokens."""
        if len(texts) == 1:
            return _Joined(encoded[0], [], [texts[0]], None)
        (prompt, whole), (prompt_ids, token_ids) = texts[:2], encoded[:2]
        parts = [whole]
        if token_ids[: len(prompt_ids)] != prompt_ids:
            # A token would span question and answer: keep the question as generation sees it.
            parts = [prompt, whole[len(prompt) :]]
            token_ids = prompt_ids + self._encode(parts[1])
        end = len(token_ids)
        while end > len(prompt_ids) and self._is_blank(token_ids[end - 1]):
            end -= 1
        added_eos = None if token_ids[end - 1] in self._end_ids else self._eos_id
        if added_eos is not None:
            token_ids = [*token_ids[:end], added_eos]
            end += 1
        spans = [
            (len(earlier), _common_prefix(token_ids, through))
            for earlier, through in zip(encoded[2::2], encoded[3::2], strict=True)
            # An answer whose own prompt does not stand before it is read but not learned.
            if token_ids[: len(earlier)] == earlier
        ]
        return _Joined(token_ids, [*spans, (len(prompt_ids), end)], parts, added_eos)

    def _is_blank(self, token_id: int) -> bool:
        return not self._tokenizer.decode([token_id], skip_special_tokens=False).strip()

    def _answer_text(self, messages: Sequence[Message], prompt: str) -> str:
        """What follows `prompt` when its answer, the last message, is known."""
        full = self.render(messages)
        if full.startswith(prompt):
            return full[len(prompt) :]
        content = messages[-1]["content"]
        return content + self._turn_end()

    def _turn_end(self) -> str:
        """What the template writes after an answer, such as "<|im_end|>\\n"."""
        marker = "The answer stands here."
        try:
            text = self.render([{"role": "user", "content": "?"}, {"role": "assistant", "content": marker}])
        except StudioError:
            return ""
        return text.partition(marker)[2]

    def _cut(
        self, token_ids: list[int], spans: list[tuple[int, int]], pieces: list[str], max_tokens: int | None
    ) -> TokenizedExample:
        learned = _marked(len(token_ids), spans)
        kept = len(token_ids) if max_tokens is None else min(max_tokens, len(token_ids))
        return TokenizedExample(token_ids[:kept], learned[:kept], pieces[:kept], len(token_ids) - kept)

    def _encode(self, text: str) -> list[int]:
        # The template writes its own special tokens; letting the tokenizer add more would double them.
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _pieces(self, parts: Sequence[str]) -> list[str]:
        """The text of each token; joined, they are the whole text (a split character: its first token)."""
        pieces: list[str] = []
        for part in parts:
            seen = 0
            for _, end in self._tokenizer.encode(part, add_special_tokens=False).offsets:
                pieces.append(part[seen:end])
                seen = max(seen, end)
            if pieces:
                pieces[-1] += part[seen:]
        return pieces

    def _find_stop_ids(self, folder: Path, eos_id: int | None) -> frozenset[int]:
        """Tokens that end an answer: the model's declared ones and the one its template writes."""
        found = {eos_id}
        for name in ("generation_config.json", "config.json"):
            declared = _read_json(folder / name).get("eos_token_id")
            found.update(declared if isinstance(declared, list) else [declared])
        first = self._encode(self._turn_end().strip())[:1]
        found.update(token_id for token_id in first if token_id in self._added_ids)
        return frozenset(token_id for token_id in found if token_id is not None)
