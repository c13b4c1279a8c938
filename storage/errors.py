"""The one exception for everything a user can cause or fix."""

from __future__ import annotations


class StudioError(Exception):
    """A problem in words that a user may read as they are.

    `message` says what is wrong and where; `remedy` says what to do about it.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def as_json(self) -> dict[str, str]:
        """The two sentences as the endpoints return them."""
        return {"message": self.message, "remedy": self.remedy}
