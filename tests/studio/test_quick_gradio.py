from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

from studio import quick_gradio

ROOT = Path(__file__).parents[2]
LISTS_WRITTEN = """
import sys
written = []
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".pyi") and str(arguments[1])[0] in "wa":
        written.append(arguments[0])
sys.addaudithook(watch)
"""


def in_a_fresh_process(code: str) -> list[str]:
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return ended.stdout.split()


def test_the_private_function_is_where_it_was() -> None:
    component_meta = sys.modules[quick_gradio.STUB_WRITER_MODULE]
    assert callable(getattr(component_meta, quick_gradio.STUB_WRITER))
    source = inspect.getsource(component_meta)
    assert f"def {quick_gradio.STUB_WRITER}(" in source
    assert source.count(f"{quick_gradio.STUB_WRITER}(") >= 2, "it is still what writes the stubs"


def test_importing_gradio_this_way_writes_no_stubs() -> None:
    code = (
        "from studio.quick_gradio import gradio, STUB_WRITER\n"
        "from gradio import component_meta\n"
        "class Own(gradio.components.Component): pass\n"
        "print(getattr(component_meta, STUB_WRITER).__name__, *written)"
    )
    assert in_a_fresh_process(LISTS_WRITTEN + code) == ["<lambda>"]


def test_the_finder_leaves_the_import_system_as_it_was() -> None:
    code = (
        "import sys; before = list(sys.meta_path); import studio.quick_gradio; print(before == sys.meta_path)"
    )
    assert in_a_fresh_process(code) == ["True"]


def test_gradio_that_is_there_already_is_used_as_it_is() -> None:
    code = (
        "import sys, gradio; before = list(sys.meta_path)\n"
        "from studio.quick_gradio import gradio as ours; print(ours is gradio, before == sys.meta_path)"
    )
    assert in_a_fresh_process(code) == ["True", "True"]
