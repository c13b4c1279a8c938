"""Secrets and personal data in texts: where they are, and their masks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from jobs.datasets.checks.secrets import secrets_in

MASKS = {"email_address": "[email]", "phone_number": "[phone]", "card_number": "[card]", "secret": "[secret]"}
_EMAIL = re.compile(r"(?<![\w.+/-])(?!git@)[\w+-][\w.+-]{0,63}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@])")
_FILES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".js", ".css")
# At the beginning Visa 4, Mastercard 51-55 and 2221-2720, Amex 34 and 37, Discover 6011, 644-649 and 65,
# JCB 3528-3589, Diners 300-305, 36 and 38 (ISO/IEC 7812 issuer ranges).
_CARD = re.compile(
    r"(?<![\w.,/#-])(?:(?:4\d{3}|5[1-5]\d\d|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)|6011|64[4-9]\d|65\d\d|"
    r"35(?:2[89]|[3-8]\d))([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d\d([ -]?)\d{6}\2\d{5}|"
    r"3(?:0[0-5]|[68]\d)\d([ -]?)\d{6}\3\d{4})(?![\w-]|[.,]\d)"
)
# Digits as people group them in a phone number; whether it is one is decided below.
_DIGITS = re.compile(
    r"(?<![\w.,/#=$€£%&+:@-])[+(]?\d(?:[ \u00a0()./-]{0,2}\d){6,16}(?:\s?(?:x|ext\.?)\s?\d{1,5})?"
    r"(?![\w%€$£]|[.,]\d|-\d)"
)
_DATE = re.compile(
    r"(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?\b|\d\d?[./-]\d\d?[./-](?:19|20)\d\d\b"
    r"|(?:19|20)\d\d ?[-/] ?(?:19|20)\d\d\b"
)
_AMERICAN = re.compile(r"(?:\+?1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4}")
_LOCAL = re.compile(r"555-\d{4}")
_CALLED = re.compile(
    r"(?:\b(?:tel|phone|telephone|call|calling|mobile|cell|fax|whatsapp|sms|hotline|dial|ring|text me|"
    r"telefon\w*|handy\w*|mobil\w*|anruf\w*|nummer lautet|ruf\w*|unter|erreich\w*|reach me|reach us|"
    r"téléphone|appelez|teléfono|móvil|llam\w+)\b"
    r"|☎|📞|📱)[^\d\n]{0,40}$",
    re.IGNORECASE,
)
_NOT_A_PHONE = re.compile(
    r"\b(?:order|invoice|ticket|case|reference|ref|account|tracking|customer|serial|isbn|issn|iban|id|sku|article|item|"
    r"policy|contract|bestell\w*|rechnung\w*|kunden\w*|auftrag\w*|konto\w*|artikel\w*|vin|version)\b[^\d\n]{0,20}$",
    re.IGNORECASE,
)
_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "AT", "CH", "IN", "AU", "BR", "MX", "PL", "SE")
_MOST_TIMES = 50  # a number that stood too close to another is seen when that is gone
_MOST_CHECKED = 40  # numbers of one text; beyond that it is a table of figures


def found_in(text: str, digits: int) -> Iterator[str]:
    """The codes of what stands in the text, which has so many digits."""
    if next(secrets_in(text), None):
        yield "secret"
    if "@" in text and next(emails_in(text), None):
        yield "email_address"
    if digits >= 7 and next(phones_in(text), None):
        yield "phone_number"
    if digits >= 14 and next(cards_in(text), None):
        yield "card_number"


def emails_in(text: str) -> Iterator[tuple[int, int]]:
    """Where e-mail addresses stand."""
    for found in _EMAIL.finditer(text):
        if not found[0].lower().endswith(_FILES):
            yield found.span()


def cards_in(text: str) -> Iterator[tuple[int, int]]:
    """Where card numbers stand: a known issuer's beginning and length, and the check digit is right (Luhn)."""
    for found in _CARD.finditer(text):
        digits = [int(c) for c in found[0] if c.isdigit()][::-1]
        doubled = (d * 2 - 9 if d > 4 else d * 2 for d in digits[1::2])
        if (sum(digits[::2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1:
            yield found.span()


def phones_in(text: str) -> Iterator[tuple[int, int]]:
    """Where phone numbers stand; figures that nothing marks as one are none."""
    for number, found in enumerate(_DIGITS.finditer(text)):
        if number == _MOST_CHECKED:
            return
        if _is_a_phone(found[0], text[max(0, found.start() - 60) : found.start()]):
            yield found.span()
    if "555-" in text:
        for found in _LOCAL.finditer(text):
            before = text[max(0, found.start() - 60) : found.start()]
            if _CALLED.search(before) and not before[-1:].isdigit():
                yield found.span()


def _is_a_phone(written: str, before: str) -> bool:
    digits = sum(c.isdigit() for c in written)
    if not 7 <= digits <= 18 or _NOT_A_PHONE.search(before) or _DATE.match(written):
        return False
    if _AMERICAN.fullmatch(written):
        return True
    abroad = written.startswith(("+", "00"))
    called = bool(_CALLED.search(before))
    if not (abroad or called) or (written.startswith("00") and not called):
        return False
    import phonenumbers

    for region in (None,) if abroad and written.startswith("+") else _REGIONS:
        try:
            parsed = phonenumbers.parse(written, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(parsed) or (abroad and phonenumbers.is_possible_number(parsed)):
            return True
    return False


_FINDERS = {
    "secret": secrets_in,
    "card_number": cards_in,
    "email_address": emails_in,
    "phone_number": phones_in,
}


def found(code: str, text: str) -> list[str]:
    """Everything of a kind in the text, in small letters."""
    return [text[start:end].casefold() for start, end in _FINDERS[code](text)]


def masked(code: str, text: str, known: Collection[str] = ()) -> str:
    """The text with everything of this kind replaced by its mask, but what is `known`."""
    for _ in range(_MOST_TIMES):
        spans = [s for s in sorted(_FINDERS[code](text)) if text[slice(*s)].casefold() not in known]
        if not spans:
            break
        pieces, end = [], 0
        for start, stop in spans:
            if start >= end:
                pieces += [text[end:start], MASKS[code]]
                end = stop
        text = "".join([*pieces, text[end:]])
    return text
