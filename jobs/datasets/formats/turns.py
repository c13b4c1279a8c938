"""A conversation written into one text, with the marks of a chat template or of a person between its turns."""

from __future__ import annotations

import re

ASKING = (
    *("q", "question", "user", "human", "prompt", "instruction", "customer", "client", "frage", "kunde"),
    *("pregunta", "domanda", "pergunta", "vraag", "вопрос", "问", "問", "质问", "質問"),
)
ANSWERING = (
    *(
        "a",
        "answer",
        "assistant",
        "response",
        "ai",
        "bot",
        "agent",
        "support",
        "antwort",
        "respuesta",
        "réponse",
    ),
    *("risposta", "resposta", "antwoord", "ответ", "答", "回答"),
)
ROLES = {
    **dict.fromkeys(ASKING, "user"),
    **dict.fromkeys((*ANSWERING, "model", "gpt", "output"), "assistant"),
    **dict.fromkeys(("system", "system prompt"), "system"),
    "input": "input",
}
_NAMES = "|".join(sorted(map(re.escape, ROLES), key=len, reverse=True))
# Chat templates first: what stands between their signs is a role for certain.
_MARK = re.compile(
    rf"<\|im_start\|>\s*(?P<chatml>{_NAMES})\s*\n"
    rf"|<\|start_header_id\|>\s*(?P<llama>{_NAMES})\s*<\|end_header_id\|>\s*"
    rf"|<start_of_turn>\s*(?P<gemma>{_NAMES})\s*\n"
    rf"|<\|(?P<bars>user|assistant|system)\|>\s*"
    r"|(?P<inst>\[INST\])\s*|(?P<end>\[/INST\])\s*|(?P<sys><<SYS>>)\s*|(?P<sysend><</SYS>>)\s*"
    rf"|\#\#\#\s*(?P<hashes>{_NAMES})\s*:\s*"
    rf"|(?:^|\n)[ \t]*(?P<line>(?-i:Q|A)|(?:{_NAMES})(?<!\bq)(?<!\ba))[ \t]*[:：]\s*",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\|endoftext\|>|<\|begin_of_text\|>|<bos>|<eos>|</?s>|<\|end\|>",
    re.IGNORECASE,
)
_SIGNS = {"inst": "user", "end": "assistant", "sys": "system", "sysend": "user"}


def turns_of(text: str) -> list[dict[str, str]]:
    """The messages in a text; none where fewer than two turns are marked."""
    marks = list(_MARK.finditer(text))
    if len(marks) < 2:
        return []
    messages: list[dict[str, str]] = []
    before = _ENDS.sub("", text[: marks[0].start()]).strip()
    if before:
        messages.append({"role": "system", "content": before})
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        kind = mark.lastgroup or ""
        role = _SIGNS.get(kind) or ROLES[mark[kind].casefold()]
        content = _ENDS.sub("", text[mark.end() : following.start() if following else len(text)]).strip()
        last = messages[-1] if messages else None
        if role == "input" or (kind == "sysend" and last and last["role"] == "user"):
            if last and content:
                last["content"] = f"{last['content']}\n\n{content}".strip()
            continue
        if kind == "inst" and not content:  # the system prompt stands inside the first instruction
            continue
        messages.append({"role": role, "content": content})
    if {"user", "assistant"} - {message["role"] for message in messages}:
        return []
    return messages
