"""Publish what was trained into ``headstart/keras/networks/weights``: weights, log, scores, card.

Run by hand when the scores are taken; what ships changes by decision, not by a pipeline.
"""

from __future__ import annotations

import sys
from pathlib import Path
from string import Template

from headstart._utils.files import sha256_file, write_bytes, write_text
from pretraining.settings import Settings, parse_paths, read_settings

_NAME = "headstart-small"
_TEMPLATE = Path(__file__).with_name("card.md")


def card(settings: Settings, log: str, scores: str, weights: Path) -> str:
    """Return the model card in Markdown.

    Parameters
    ----------
    log, scores : str
        Contents of the two CSV files.
    weights : Path
        The file that is published.
    """
    header, *rows = [line.split(",") for line in log.splitlines()]
    last = dict(zip(header, rows[-1], strict=True))
    train, teacher = settings.train, settings.teacher
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        epochs=len(rows),
        cool_down=train.cool_down,
        batch=train.batch,
        rate=f"{train.learning_rate:g}",
        decay=f"{train.weight_decay:g}",
        smoothing=f"{train.label_smoothing:g}",
        distillation=f"{train.distillation:g}",
        averaging=f"{train.averaging:g}",
        sizes=_sides(train.sizes),
        last_sizes=_sides(train.last_sizes),
        area=f"{train.least_area:g}",
        teacher=f"{teacher.name} {teacher.alpha:g}",
        teacher_size=teacher.image_size,
        components=teacher.components,
        accuracy=f"{float(last['held_out_accuracy']):.3f}",
        similarity=f"{float(last['held_out_similarity']):.3f}",
        sha256=sha256_file(weights),
        kilobytes=f"{weights.stat().st_size / 1000:,.0f}",
        scores=table(scores),
    )


def _sides(values: list[int]) -> str:
    return ", ".join(str(value) for value in values)


def table(scores: str) -> str:
    """Return the scores as a Markdown table: a line per backbone and size, a column per source."""
    header, *rows = [line.split(",") for line in scores.splitlines()]
    found = [dict(zip(header, row, strict=True)) for row in rows]
    sources = sorted({row["images"] for row in found})
    lines: dict[tuple[int, str, str], dict[str, str]] = {}
    for row in found:
        key = (int(row["image_size"]), row["backbone"], row["weights"])
        lines.setdefault(key, {})[row["images"]] = f"{float(row['accuracy']):.3f}"
    text = [
        f"| size | backbone | weights | {' | '.join(sources)} |",
        "|---" * (3 + len(sources)) + "|",
    ]
    for (size, backbone, weights), values in sorted(lines.items()):
        cells = " | ".join(values.get(source, "") for source in sources)
        text.append(f"| {size} | {backbone} | {weights} | {cells} |")
    tested = {row["images"]: f"{row['train']} / {row['test']}" for row in found}
    counts = " | ".join(tested[source] for source in sources)
    text.append(f"| | trained on / tested on | | {counts} |")
    return "\n".join(text)


def main() -> None:
    """Read the options and publish."""
    given = parse_paths("card", __doc__, "params", "weights", "log", "scores", "folder")
    published = {".npz": given.weights, ".log.csv": given.log, ".scores.csv": given.scores}
    for suffix, source in published.items():
        if not source.is_file():
            sys.exit(f"Error: There is no {source}. README.md says how it is made.")
        target = given.folder / f"{_NAME}{suffix}"
        if source.resolve() != target.resolve():
            write_bytes(target, source.read_bytes())
    print(f"SHA256 in headstart/keras/networks/headstart_small.py: {sha256_file(given.weights)}")
    text = card(
        read_settings(given.params),
        given.log.read_text(encoding="utf-8"),
        given.scores.read_text(encoding="utf-8"),
        given.folder / f"{_NAME}.npz",
    )
    write_text(given.folder / f"{_NAME}.md", text)


if __name__ == "__main__":
    main()
