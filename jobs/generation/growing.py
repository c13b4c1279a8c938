"""The text of an answer while it grows, at the same cost for every token however long it has become."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.generation.chat import ChatFormat

UNFINISHED_CHARACTER = "\ufffd"
# So many tokens are turned into text together; then only the last of them stay, as what a token says may depend on
# its neighbours: blanks, and characters of several tokens.
TOGETHER, KEPT = 64, 8
# The most bytes that a character has, each of which may be a token of its own.
CHARACTER_BYTES = 4


class GrowingText:
    """What of an answer's text has been told already."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat
        self._first = 0
        # What the tokens from `_first` on say, as far as it has been told.
        self._told = ""

    def news(self, token_ids: Sequence[int], is_whole: bool) -> str:
        """The text that `token_ids`, the answer so far, say beyond what was told.

        Bytes of an unfinished character wait for their rest, unless the answer `is_whole`.
        """
        text = self._chat.decode(token_ids[self._first :])
        finished = text if is_whole else text.rstrip(UNFINISHED_CHARACTER)
        new = finished[len(self._told) :]
        self._told += new
        if len(token_ids) - self._first >= TOGETHER:
            self._leave_behind(token_ids)
        return new

    def _leave_behind(self, token_ids: Sequence[int]) -> None:
        """Go on from the last tokens, if they say anything: without a word before it a blank may be left out."""
        for first in range(len(token_ids) - KEPT, len(token_ids) - KEPT - CHARACTER_BYTES, -1):
            said = self._chat.decode(token_ids[first:])
            # Not in the middle of a character: without its first byte none of those beside it is one either.
            if said and UNFINISHED_CHARACTER not in said:
                self._first, self._told = first, said
                return
