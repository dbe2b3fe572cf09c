"""A process that has imported what stages import, and forks one for each stage that is asked for.

TensorFlow takes seconds to import, and the sweep runs stages a thousand times. A job is a line of
JSON on standard input: the module's words, variables of the environment, and a file for what is
printed. Two lines answer it: the process, and how it ended.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

IMPORTED = (
    "headstart.keras.training.fine_tune",
    "headstart.keras.export.export",
    "headstart.keras.networks.prepare",
    "headstart.backbones.litert",
    "headstart.sources.ingest",
    "headstart.report.run",
    "sklearn.metrics",
)


def main() -> None:
    """Import, say so, and answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for name in IMPORTED:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would lose the other threads"
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            answers.close()
            _become(job)
        print(child, file=answers, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _become(job: dict[str, Any]) -> NoReturn:
    """Run the stage as ``python -m MODULE …`` does."""
    code = 1
    try:
        os.environ.clear()
        os.environ.update(job["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        module, *words = job["words"]
        sys.argv = [str(Path(*module.split(".")).with_suffix(".py")), *words]
        for name in [name for name in sys.modules if name.split(".")[0] == "stages"]:
            del sys.modules[name]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
