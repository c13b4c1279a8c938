"""The README's example runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.journeys.studio_process import ROOT, Studio

pytestmark = [pytest.mark.starter]


def test_the_example_of_the_endpoints_prints_both_sides(studio: Studio) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example
    code = example[1].replace("http://127.0.0.1:7860", studio.url)
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    sides = [line.split()[0] for line in ended.stdout.splitlines() if line.startswith(("base ", "adapted "))]
    assert sides == ["base", "adapted"]
