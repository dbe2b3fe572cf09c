"""A record of the machine and its software: a result depends on them, too."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from headstart._utils.machine import cores

ENVIRONMENT = "environment.json"
#: Instruction sets by which TensorFlow, NumPy and LiteRT choose their kernels.
_FLAGS = (
    "sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq",
    "avx512vl", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip
#: Variables by which a user or an administrator changes kernels or numbers of threads.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "TF_DISABLE_MKL",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_USE_LEGACY_KERAS",
    "XLA_FLAGS",
)


def environment(packages: Mapping[str, str]) -> dict[str, Any]:
    """Return a record of the machine and its software.

    Parameters
    ----------
    packages : mapping of str to str
        Names whose installed versions matter (of runtime.txt); the values are not used.

    Returns
    -------
    dict
        JSON values. No time, no load, no path: two runs on one machine give the same.
    """
    model, flags = _processor()
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "cpu": model,
        "cpu_flags": [flag for flag in _FLAGS if flag in flags],
        "cores": cores(),
        "one_dnn": _one_dnn(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "packages": {name: _version(name) for name in sorted(packages)},
    }


def _one_dnn() -> str:
    given = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    # TensorFlow switches it on by itself on x86 alone.
    return "default" if given is None else "off" if given == "0" else "on"


def _processor() -> tuple[str, frozenset[str]]:
    """Return the CPU's name and flags; outside Linux, the name that Python knows."""
    fields: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    model = fields.get("model name") or platform.processor() or "unknown"
    flags = fields.get("flags") or fields.get("features") or ""
    return model, frozenset(flags.split())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
