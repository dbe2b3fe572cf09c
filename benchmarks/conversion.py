"""The conversion of every network of keras.applications to LiteRT, with random weights.

    python -m benchmarks.conversion --size 96 --output parity.jsonl
    python -m benchmarks.conversion --own-size --limit 360 --output own.jsonl
    python -m benchmarks.conversion --table parity.jsonl

Each network is built, converted and run on sixteen real images in a process of its own, the largest
last, so that the peak of memory is its own. A line of JSON is appended for each; networks that the
file has already are left out, so a killed measurement resumes. Differences are in standard
deviations of a feature:

litert
    of LiteRT from Keras, as the pipeline compares them
last_bit
    of Keras from itself, with the last bit of each pixel changed; ten times as much is accepted

ConvNeXt starts its blocks at a millionth, as if they were not there; here they have weights between
0.2 and 0.6, as training gives them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from headstart.backbones.registry import BACKBONES, BackboneSpec

_ROOT = Path(__file__).resolve().parents[1]
_SIZE = 96  # The smallest of the table takes 75.


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Default: all")] = None,
    size: int = _SIZE,
    own_size: Annotated[bool, typer.Option("--own-size", help="the size of the weights")] = False,
    limit: Annotated[int | None, typer.Option(help="seconds of CPU for each network")] = None,
    output: Annotated[Path | None, typer.Option(help="A file of JSON lines to append to")] = None,
    table: Annotated[Path | None, typer.Option(help="Print such a file as Markdown")] = None,
    here: Annotated[str | None, typer.Option(help="This network, in this process")] = None,
) -> None:
    """Measure each network, and print a line for each."""
    if table is not None:
        print(as_markdown(read(table)))
    elif here is not None:
        print(json.dumps(measured(BACKBONES[here], size, limit)))
    else:
        known = {row["name"] for row in read(output)} if output else set()
        for spec in networks(names or []):
            if spec.name not in known:
                _measure(spec, spec.default_size if own_size else size, limit, output)


def networks(names: list[str]) -> list[BackboneSpec]:
    """Return these networks, or all of keras.applications, the largest last."""
    found = [
        spec
        for spec in BACKBONES.values()
        if spec.family == "keras.applications" and (not names or spec.name in names)
    ]
    return sorted(found, key=lambda spec: spec.parameters)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file that may not exist."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table, in the order of their names."""
    lines = [
        "| network | million parameters | LiteRT from Keras | Keras from itself | |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row["name"]):
        figures = " | ".join(rounded(row[key]) for key in ("litert", "last_bit"))
        accepted = "" if row["accepted"] else "refused"
        lines.append(f"| `{row['name']}` | {row['parameters']:.1f} | {figures} | {accepted} |")
    return "\n".join(lines)


def rounded(difference: float) -> str:
    """Return a difference with one significant digit, and not below what float32 can tell."""
    if difference < 1e-5:
        return "< 0.00001"
    digits = max(0, -int(np.floor(np.log10(difference))))
    return f"{difference:.{digits}f}" if difference < 1 else f"{difference:.1f}"


def _measure(spec: BackboneSpec, size: int, limit: int | None, output: Path | None) -> None:
    command = [sys.executable, "-m", "benchmarks.conversion", "--here", spec.name]
    command += ["--size", str(size), *(["--limit", str(limit)] if limit else [])]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.splitlines() or [""])[-1]
        print(f"{spec.name} at {size}: no result ({done.returncode}): {last}", flush=True)
        return
    line = done.stdout.splitlines()[-1]
    print(line, flush=True)
    if output is not None:
        with output.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def measured(spec: BackboneSpec, size: int, limit: int | None) -> dict[str, Any]:
    """Convert a network as the stage does, and return the differences and the costs."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    from headstart.backbones.litert import LiteRTFunction
    from headstart.keras.networks import conversion
    from headstart.keras.networks.backbone import feature_model
    from headstart.keras.networks.pretrained import obtain

    backbone = obtain(spec.name, 1.0, size, "random", 42).backbone
    _awaken(backbone)
    model = feature_model(backbone, None, "avg", spec.preprocessing)
    batch = conversion.images(size)
    start = time.process_time()
    network = conversion.to_tflite(model)
    converted = time.process_time()
    function = LiteRTFunction(network)
    expected = conversion.run_keras(model, batch)
    difference = conversion.difference_in_std(expected, function(batch))
    in_float = feature_model(backbone, None, "avg", spec.preprocessing, "float32")
    own = conversion.rounding(in_float, batch, expected)
    accepted = max(conversion.TOLERANCE, min(conversion.ROUNDINGS * own, conversion.LARGEST))
    begun = time.process_time()
    function(batch[:4])
    return {
        "name": spec.name,
        "size": size,
        "parameters": backbone.count_params() / 1e6,
        "litert": difference,
        "last_bit": own,
        "accepted": difference <= accepted,
        "megabytes": len(network) / 1e6,
        "conversion_cpu_seconds": round(converted - start, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "litert_ms": round(250 * (time.process_time() - begun), 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def _awaken(backbone: Any) -> None:
    generator = np.random.default_rng(0)
    for layer in backbone.layers:
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(generator.uniform(0.2, 0.6, layer.gamma.shape).astype(np.float32))


if __name__ == "__main__":
    typer.run(main)
