"""The exception for everything a user can cause or fix, and the kinds of it that code has to tell apart."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` as it may stand in a sentence, whoever wrote what is quoted in it.

    Line ends become spaces; what steers a terminal, turns the direction of writing or is half a character, U+FFFD.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )


class StudioError(Exception):
    """A problem in words that a user may read as they are.

    `message` says what is wrong and where; `remedy` says what to do about it.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = printable(message)
        self.remedy = printable(remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def as_json(self) -> dict[str, str]:
        """The two sentences as the endpoints return them."""
        return {"message": self.message, "remedy": self.remedy}


class DiskFull(StudioError):
    """No room on the disk: a job that meets it pauses instead of failing.

    `needed_bytes` is None where nobody could say it; `free_bytes` is what was free at that moment.
    """

    def __init__(
        self, message: str, remedy: str = "", needed_bytes: int | None = None, free_bytes: int = 0
    ) -> None:
        super().__init__(message, remedy)
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class DamagedDatabase(StudioError):
    """The database is broken or gone; it can be made again from the folders of the studio."""
