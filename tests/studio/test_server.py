"""The page's application as it is mounted."""

from __future__ import annotations

from pathlib import Path

from studio import server


def test_the_copies_that_sessions_keep_of_the_page_are_bounded(home: Path) -> None:
    # Every call of an endpoint is a session of its own: a program that asks once a second makes 86,400 a day.
    application = server._application()
    (holder,) = [
        one.app.state_holder
        for one in application.routes
        if hasattr(getattr(one, "app", None), "state_holder")
    ]
    for number in range(server.MOST_SESSIONS + 30):
        assert holder[f"session {number}"] is not None
    assert len(holder.session_data) <= server.MOST_SESSIONS
    assert f"session {server.MOST_SESSIONS + 29}" in holder
