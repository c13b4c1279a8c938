"""What the pages' tests ask in place of the model server."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.serving.schema import CompareSettings, SideAnswer, SideRequest
from storage.errors import StudioError


class Model:
    """Stands in for the model server: two snapshots of one word each, a refusal, or one that ends in the middle."""

    def __init__(self) -> None:
        self.refusal: StudioError | None = None
        self.interruption: StudioError | None = None
        self.closed = False
        self.asked: list[tuple[list[SideRequest], CompareSettings]] = []
        self.askers: list[str] = []

    def stream(
        self, base_model_id: str, requests: list[SideRequest], settings: CompareSettings, asker: str = ""
    ) -> Iterator[list[SideAnswer]]:
        self.asked.append((requests, settings))
        self.askers.append(asker)
        try:
            if self.refusal:
                raise self.refusal
            for text in ("a", f"ab{len(self.asked)}"):
                yield [
                    SideAnswer(
                        side=one.side, label=one.label, text=text, tokens=1, prompt_tokens=1, weights="3f9a",
                        seconds=1.0, done=text != "a", finish_reason="stop" if text != "a" else "",
                    )
                    for one in requests
                ]  # fmt: skip
                interruption, self.interruption = self.interruption, None
                if interruption:
                    raise interruption
        finally:
            self.closed = True

    def read(self, side: str, question: int = -1) -> list[tuple[str, str]]:
        """What one side has read, without what stands before every question."""
        request = next(one for one in self.asked[question][0] if one.side == side)
        return [(turn["role"], turn["content"]) for turn in request.messages]
