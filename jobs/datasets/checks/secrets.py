"""Keys, tokens and passwords in texts: where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

# No pattern may look far ahead from each place: a text can be a million of its beginnings.
# What every key of a kind begins with is looked for first: it is a hundred times faster than the pattern.
_KEYS: list[tuple[tuple[str, ...], re.Pattern[str]]] = [
    (("AKIA", "ASIA"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), re.compile(r"\bgh[pousr]_[0-9A-Za-z]{20,255}\b")),
    (("github_pat_",), re.compile(r"\bgithub_pat_[0-9A-Za-z_]{20,255}\b")),
    (("glpat-",), re.compile(r"\bglpat-[0-9A-Za-z_-]{20,64}")),
    (
        ("sk-",),
        re.compile(r"\bsk-(?:proj-|svcacct-|ant-|or-)?(?=[A-Za-z_-]{0,60}[0-9])[0-9A-Za-z_-]{16,255}"),
    ),
    (("xox",), re.compile(r"\bxox[abeoprs]-[0-9A-Za-z-]{10,255}")),
    (
        ("hooks.slack.com/services/",),
        re.compile(r"https://hooks\.slack\.com/services/[0-9A-Za-z]+/[0-9A-Za-z]+/[0-9A-Za-z]+"),
    ),
    (("AIza",), re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    (("GOCSPX-",), re.compile(r"\bGOCSPX-[0-9A-Za-z_-]{28}")),
    (
        ("k_live_", "k_test_"),
        re.compile(r"\b[prs]k_(?:live|test)_(?=[A-Za-z]{0,60}[0-9])[0-9A-Za-z]{10,255}\b"),
    ),
    (("whsec_",), re.compile(r"\bwhsec_[0-9A-Za-z]{24,64}\b")),
    (("hf_",), re.compile(r"\bhf_[0-9A-Za-z]{30,64}\b")),
    (("npm_",), re.compile(r"\bnpm_[0-9A-Za-z]{36}\b")),
    (("SG.",), re.compile(r"\bSG\.[0-9A-Za-z_-]{16,32}\.[0-9A-Za-z_-]{32,64}")),
    (
        ("PRIVATE KEY",),
        re.compile(
            r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY-----(?:[^-]|-(?!----)){0,20000}"
            r"(?:-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY-----)?"
        ),
    ),
    (("eyJ",), re.compile(r"\beyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}")),
    (("earer ",), re.compile(r"(?<=[Bb]earer )(?=[A-Za-z._~+/-]{0,60}[0-9])[0-9A-Za-z._~+/-]{20,2000}=*")),
]
_BEGINNINGS = [(beginning, pattern) for beginnings, pattern in _KEYS for beginning in beginnings]
_IN_ADDRESS = re.compile(r"(?<=://)[\w.-]+:([^\s/:@\"'<>{}$]{3,})@(?=[\w.-]+)")
_NAMED = ("passw", "pwd", "secret", "token", "api", "kennwort", "passwd", "mot de passe", "contrase")
_VALUE = re.compile(
    r"(?:\b|_)(?:password|passwort|passwd|pwd|kennwort|mot de passe|contraseña|(?:client|app|aws|api)?[_-]?secret"
    r"(?:[_-]?(?:access[_-]?)?key)?|(?:access|auth|api|bot|refresh)[_ -]?token|api[_ -]?key)"
    r"[\"']?(?:\s*[=:]\s*|\s+(?:is|ist|lautet|est)\s*:?\s+)[\"'`“]?([^\s\"'`”,;<>{}()\[\]]{6,128})",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"your|example|placeholder|changeme|xxx|\*\*|\.\.\.|\$|%|password|secret|token|api[_-]?key|https?:|[\w]+\.[a-z_]+$",
    re.IGNORECASE,
)


def secrets_in(text: str) -> Iterator[tuple[int, int]]:
    """Where secrets stand in the text: from, to."""
    for pattern in [pattern for beginning, pattern in _BEGINNINGS if beginning in text]:
        for found in pattern.finditer(text):
            yield found.span()
    if "://" in text and "@" in text:
        for found in _IN_ADDRESS.finditer(text):
            if not _PLACEHOLDER.search(found[1]) and found[1].casefold() not in ("pass", "pwd"):
                yield found.span(1)
    if "=" in text or ":" in text or " is" in text or " ist" in text:
        lower = text.lower()
        if any(name in lower for name in _NAMED):
            for found in _VALUE.finditer(text):
                if _is_a_password(found[1].rstrip(".!?")):
                    yield found.start(1), found.start(1) + len(found[1].rstrip(".!?"))


def _is_a_password(value: str) -> bool:
    """Not a word, a placeholder or a piece of code: letters with digits or signs among them."""
    letters = any(c.isalpha() for c in value)
    digits = any(c.isdigit() for c in value)
    signs = any(not c.isalnum() and c not in "-_.:" for c in value)
    return letters and (digits or (signs and value.isascii())) and not _PLACEHOLDER.search(value)
