"""C++ sources compiled once for the processor at hand, and kept for later runs."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_HEADER = Path(__file__).with_name("numbers.h")
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_LONGEST_COMPILATION_S = 60


def built(source: Path) -> tuple[ctypes.CDLL, float | None]:
    """The compiled source, and how many seconds it took; None if an earlier run did it.

    Raises:
        OSError, subprocess.SubprocessError: there is no compiler, or it fails.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise FileNotFoundError("no compiler found")
    flags = (*_FLAGS, f"-I{_HEADER.parent}")
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=10).stdout
    parts = [source.read_bytes(), _HEADER.read_bytes(), " ".join(_FLAGS).encode(), version, _processor()]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lora-tailor"
    target = folder / f"{hashlib.sha256(b'|'.join(parts)).hexdigest()[:16]}.so"
    if target.exists():
        with suppress(OSError):  # one that was damaged is compiled again
            return ctypes.CDLL(str(target)), None
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / "built.so"
        command = [compiler, *flags, str(source), "-o", str(made)]
        subprocess.run(command, capture_output=True, check=True, timeout=_LONGEST_COMPILATION_S)
        with made.open("rb") as file:
            os.fsync(file.fileno())  # a power cut leaves no half of it under the name by which it is trusted
        # Another run may do the same at this moment.
        made.replace(target)
    return ctypes.CDLL(str(target)), time.perf_counter() - start


def _processor() -> bytes:
    """What the machine code depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor().encode()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags"))})).encode()
