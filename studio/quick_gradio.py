"""Import Gradio without its habit of regenerating type stubs, which is half of the import's time.

While its components are defined, Gradio 6.31 parses and rewrites a `.pyi` file for each of them. Nothing at run time
reads those files. The function is private, hence the pinned version and a test that it is still there.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

STUB_WRITER_MODULE = "gradio.component_meta"
STUB_WRITER = "create_or_modify_pyi"


class _WithoutStubs:
    """Meta path finder that replaces the stub writer as soon as its module has been executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != STUB_WRITER_MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_silence(module: ModuleType) -> None:
            execute(module)
            setattr(module, STUB_WRITER, lambda *arguments: None)

        spec.loader.exec_module = execute_and_silence  # type: ignore[method-assign]
        return spec


if STUB_WRITER_MODULE not in sys.modules:
    sys.meta_path.insert(0, _WithoutStubs())

import gradio  # noqa: E402, F401  # the import that this module is for
