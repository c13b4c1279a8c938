"""The imports of a process that waits for its job."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys

import pytest

from jobs import warm
from jobs.executors.local import PROJECT_ROOT


def test_an_import_leaves_garbage_collection_on_and_its_own_objects_out_of_it() -> None:
    frozen = gc.get_freeze_count()
    assert warm.imported("json") is sys.modules["json"]
    assert gc.isenabled() and gc.get_freeze_count() > frozen
    gc.unfreeze()


def test_a_failed_import_leaves_garbage_collection_on() -> None:
    with pytest.raises(ModuleNotFoundError):
        warm.imported("tests.no_such_module")
    assert gc.isenabled()
    gc.unfreeze()


def test_a_job_is_heard_from_a_worker_that_has_gone_without_listening() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        warm._say(theirs, warm.READY)  # unread, so that closing resets the connection
        ours.sendall(b"the job\n")
        ours.close()
        assert warm._line(theirs) == b"the job\n"
        warm._say(theirs, warm.TAKEN)
        assert warm._line(theirs) == b""


def test_what_a_training_imports_exists_and_takes_no_gpu() -> None:
    code = """
import sys
from jobs import warm
from jobs.kinds import WARM_MODULES
for module in WARM_MODULES:
    warm.imported(module)
print(sys.modules["torch"].cuda.is_initialized(), {"peft", "safetensors"} <= set(sys.modules))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "False True\n"
