"""Which addresses and numbers the rows name, so that the user's own, which every answer may give, are told apart."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jobs.datasets.checks import personal
from jobs.datasets.checks.texts import Message, key

CODES = ("email_address", "phone_number")
_FEWEST_ANSWERS = 5
_SHARE = 0.02
_MOST_TEXTS = 20_000


class Mentions:
    """Every mention as three numbers: the row, the address's key, and twice its code plus whether an answer says it."""

    def __init__(self) -> None:
        self.rows, self.keys, self.kinds = array("q"), array("Q"), array("B")
        self.texts: dict[int, str] = {}
        self._forgotten: dict[int, int] = {}  # the row → how many mentions there were when it was dropped

    def see(self, row: int, code: str, messages: Sequence[Message]) -> None:
        """Note what one row mentions of a kind."""
        for message in messages:
            answer = message["role"] == "assistant"
            for text in set(personal.found(code, message["content"])):
                number = key(text)
                if answer and len(self.texts) < _MOST_TEXTS:
                    self.texts[number] = text
                self.rows.append(row)
                self.keys.append(number)
                self.kinds.append(2 * CODES.index(code) + answer)

    def forget(self, row: int) -> None:
        """Drop what one row has mentioned so far."""
        self._forgotten[row] = len(self.rows)

    def own(self, rows: int) -> frozenset[str]:
        """What is said in the answers of many rows: the user's own contact, which shall be learned."""
        self._drop_forgotten()
        answers = Counter(k for k, kind in zip(self.keys, self.kinds, strict=True) if kind % 2)
        fewest = max(_FEWEST_ANSWERS, _SHARE * rows)
        return frozenset(self.texts[k] for k, n in answers.items() if n >= fewest and k in self.texts)

    def rows_of(self, code: str, own: frozenset[str]) -> list[int]:
        """The rows that mention something of this kind which is not the user's own."""
        self._drop_forgotten()
        known, number = {key(text) for text in own}, CODES.index(code)
        mentions = zip(self.rows, self.keys, self.kinds, strict=True)
        return sorted({row for row, k, kind in mentions if kind // 2 == number and k not in known})

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        self._drop_forgotten()
        texts = {str(k): text for k, text in self.texts.items()}
        return {"rows": list(self.rows), "keys": list(self.keys), "kinds": list(self.kinds), "texts": texts}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Mentions:
        """As it was stored."""
        mentions = cls()
        mentions.rows, mentions.keys = array("q", value["rows"]), array("Q", value["keys"])
        mentions.kinds = array("B", value["kinds"])
        mentions.texts = {int(k): text for k, text in value["texts"].items()}
        return mentions

    def _drop_forgotten(self) -> None:
        if self._forgotten:
            before = self._forgotten.get
            keep = [n for n, row in enumerate(self.rows) if n >= before(row, 0)]
            self.rows = array("q", (self.rows[n] for n in keep))
            self.keys = array("Q", (self.keys[n] for n in keep))
            self.kinds = array("B", (self.kinds[n] for n in keep))
            self._forgotten = {}
