"""`headstart show …`: the images, the folders, a batch and the model, as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart._utils.errors import HeadstartError
from headstart.cli.front import PARAMS, browse, command, register
from headstart.cli.labels import Capitals, shown_names
from headstart.cli.show_module import module

if TYPE_CHECKING:
    import pandas as pd

    from headstart.datasets.shards import ShardReader
    from headstart.report.grids import Raw
    from headstart.report.structure import LayerRow

app = typer.Typer(
    name="show",
    help="Look at what lies in `data`: raw images, folders and counts, the shapes of a batch, "
    "the model's layers.",
    epilog="Example: headstart show images --open",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Output = Annotated[Path, typer.Option("--output", help="The PNG file to write.")]
Open = Annotated[bool, typer.Option("--open", help="Then open it in the browser.")]
SplitName = Annotated[
    str | None, typer.Option("--split", help="train, validation or test alone; else all.")
]
_FOLDER = Path("data/show")


@command(
    says="Draw raw images in a grid, each titled with its class and shape (label – shape), as "
    "they came: before any resizing. Chosen by the seed, so that the same call shows the same.",
    epilog="Example: headstart show images --rows 4 --columns 5 --split train --open",
)
def images(
    rows: Annotated[int, typer.Option(min=1, max=20, help="Rows of the grid.")] = 4,
    columns: Annotated[int, typer.Option(min=1, max=20, help="Images in a row.")] = 5,
    split: SplitName = None,
    label: Annotated[str | None, typer.Option(help="One class alone; else all.")] = None,
    seed: Annotated[int | None, typer.Option(help="Others; default: that of params.yaml.")] = None,
    capitals: Capitals = False,
    output: Output = _FOLDER / "images.png",
    show: Open = False,
) -> None:
    """Write the grid and say which images it shows."""
    from headstart._utils.seeds import uniform
    from headstart._utils.tables import plain
    from headstart.datasets.shards import ShardReader
    from headstart.report.grids import draw_grid

    paths = _paths()
    manifest = _manifest(paths, split)
    known = sorted(manifest["label"].unique())
    named = dict(zip(known, shown_names(known, capitals=capitals), strict=True))
    if label is not None:
        if label not in known:
            raise HeadstartError(
                f"There is no class {label!r}. Known are: {', '.join(map(plain, known[:30]))}."
            )
        manifest = manifest[manifest["label"] == label]
    number = _params().seed if seed is None else seed
    single = manifest.drop_duplicates("image_id")
    places = [uniform(number, "show", image_id) for image_id in single["image_id"]]
    chosen = single.assign(place=places).sort_values("place").head(rows * columns)
    with ShardReader(paths["images"]) as reader:
        shown = [_raw(reader, row, named[row["label"]]) for row in chosen.to_dict("records")]
    draw_grid(shown, columns, output)
    for row in chosen.to_dict("records"):
        shape = f"({row['height']}, {row['width']}, 3)"
        typer.echo(f"{plain(named[row['label']])} – {shape}  {plain(row['path'])}")
    _written(output, show=show)


@command(
    says="Show one image with its relative path, class, shape, format and split. NAME is its "
    "path, the end of it, or the beginning of its image_id; none: one is drawn.",
    epilog="Example: headstart show image Cat/1.jpg --open",
)
def image(
    name: Annotated[str | None, typer.Argument(help="Path, end of it, or image_id.")] = None,
    output: Output = _FOLDER / "image.png",
    show: Open = False,
) -> None:
    """Write the image and say what is known of it."""
    from headstart._utils.tables import columns as aligned
    from headstart._utils.tables import plain
    from headstart.datasets.shards import ShardReader
    from headstart.report.grids import draw_grid

    paths = _paths()
    row = _one(_manifest(paths, None), name)
    with ShardReader(paths["images"]) as reader:
        draw_grid([_raw(reader, row, row["path"].rpartition("/")[2])], 1, output)
    told = [
        ("path", row["path"]),
        ("class", row["label"]),
        ("shape", f"({row['height']}, {row['width']}, 3)"),
        ("file", f"{row['format']}, {row['bytes']:,} bytes"),
        ("split", row.get("split") or row["predefined_split"] or "not divided yet"),
        ("group", row["group"] or "none"),
        ("image_id", row["image_id"]),
    ]
    typer.echo(aligned([(key, plain(str(value))) for key, value in told], "ll"))
    _written(output, show=show)


@command(
    says="Print the folders of the source with the images kept of each, the classes by split, "
    "and, after a sample was drawn, the folders that it was copied to.",
    epilog="Example: headstart show tree",
)
def tree(
    most: Annotated[int, typer.Option(min=1, help="Folders shown of one folder.")] = 30,
) -> None:
    """Print trees and counts."""
    from headstart.datasets.manifests import read_rejected, read_split
    from headstart.report import structure

    paths = _paths()
    images = _images(paths)
    typer.echo(structure.tree("the source", images["path"], most))
    if paths["rejected"].exists():
        aside = read_rejected(paths["rejected"])
        typer.echo(f"{len(aside):,} files rejected ({paths['rejected']} says why).")
    if not paths["split_manifest"].exists():
        typer.echo("\nNot divided yet: `dvc repro split`.")
        return
    typer.echo(f"\n{structure.division(read_split(paths['split_manifest']), most)}")
    folder = paths["sample_folder"]
    copied = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.*"))
              if path.is_file()]  # fmt: skip
    if copied:
        typer.echo(f"\n{structure.tree(folder.as_posix(), copied, most)}")
    else:
        typer.echo(
            "\nNo sample was copied: `sample.train_per_class` and `validation_per_class` are null."
        )


@command(
    says="Print the shapes of the first batch of train and test, as pixels and, once they are "
    "extracted, as features; and the order of the classes.",
    epilog="Example: headstart show batch --capitals",
)
def batch(capitals: Capitals = False) -> None:
    """Decode a batch of each and print what it looks like."""
    import numpy as np

    from headstart._utils.tables import columns as aligned
    from headstart._utils.tables import plain
    from headstart.datasets.manifests import class_names
    from headstart.datasets.shards import ShardReader
    from headstart.images.resize import pixels

    params, paths = _params(), _paths()
    manifest = _used(paths)
    labels = class_names(manifest)
    size, side = params.train_head.batch_size, _side(params, paths)
    rows = [("split", "images", "pixels", "values", "labels", "features")]
    with ShardReader(paths["images"]) as reader:
        for name in ("train", "validation", "test"):
            part = manifest[manifest["split"] == name]
            if part.empty:
                continue
            first = part.head(size).to_dict("records")
            array = np.stack([pixels(_content(reader, row), side) for row in first])
            hot = np.array([[row["label"] == label for label in labels] for row in first])
            low, high = int(array.min()), int(array.max())
            values = f"{array.dtype}, {low} to {high}"
            features = _features_shape(paths["features"], name, len(first))
            shapes = (str(array.shape), values, str(hot.shape), features)
            rows.append((name, f"{len(part):,}", *shapes))
    typer.echo(aligned(rows, "lrllll"))
    listed = ", ".join(map(plain, shown_names(labels, capitals=capitals)[:20]))
    more = f", … ({len(labels)} in all)" if len(labels) > 20 else ""
    typer.echo(f"\nLabels in order: {listed}{more}")
    typer.echo(
        "Pixels are scaled inside of the network, in the way that its weights were trained behind."
    )


@command(
    says="Print the model's layers with outputs and parameters, trainable and frozen, of "
    "backbone and head. From the records, without TensorFlow; --layers builds the backbone in "
    "Keras and lists all of its layers, as it does by itself for a fine-tuned backbone.",
    epilog="Example: headstart show model --layers",
)
def model(
    layers: Annotated[bool, typer.Option("--layers", help="Every layer of the backbone.")] = False,
) -> None:
    """Print the summary."""
    from headstart.backbones.record import read_backbone
    from headstart.report import structure
    from headstart.training.model_folder import read_model

    params, paths = _params(), _paths()
    record = read_backbone(paths["backbone_folder"])
    folder = paths["model"] if (paths["model"] / "model.json").is_file() else paths["head"]
    made = read_model(folder) if (folder / "model.json").is_file() else None
    tuned = made is not None and made.kind == "fine_tuned"
    alone = made is not None and made.unfrozen_alone
    if layers or tuned:
        from headstart.keras.networks.backbone import rebuild_backbone
        from headstart.keras.training.layers import layers_of

        unfrozen = made.unfrozen_from if made is not None and tuned else None
        told = layers_of(
            rebuild_backbone(record, paths["backbone_folder"]), record.cut, unfrozen,
            params.fine_tune.batch_norm, alone=alone,
        )  # fmt: skip
        base = [structure.LayerRow(*each) for each in told]
        if record.pooling != "none":
            base.append(structure.LayerRow("pooling", record.pooling, record.feature_shape, 0, 0))
    else:
        kind = f"base, {record.pooling} pooling" if record.pooling != "none" else "base"
        base = [structure.LayerRow(record.name, kind, record.feature_shape, record.parameters, 0)]
    head: list[LayerRow] = []
    if made is not None:
        normalizes = not tuned or params.fine_tune.batch_norm == "train"
        head = structure.head_rows(made.head, made.feature_shape, normalizes=normalizes)
    side = record.image_size
    typer.echo(f"{record.name}, {record.origin}\nReads pixels of shape (n, {side}, {side}, 3).\n")
    shown = base if layers or not tuned else _folded(base, alone=alone)
    typer.echo(f"{structure.summary([*shown, *head])}\n\n{structure.totals(base, head)}")
    if made is None:
        typer.echo("\nNo head is trained yet: `dvc repro train_head`.")
    elif tuned:
        how = f"in {made.unfrozen_from} alone" if alone else f"from {made.unfrozen_from} up"
        typer.echo(f"\nFine-tuned {how}.")
    if record.cut is not None and not (layers or tuned):
        typer.echo(f"\nThe base is cut at {record.cut}; its parameters are those of the uncut one.")


register(app, images, image, tree, batch, model, module)


def _folded(rows: list[LayerRow], *, alone: bool) -> list[LayerRow]:
    """The frozen layers below those that learn as one line; above as well, where one learns."""
    from headstart.report.structure import LayerRow

    found: list[LayerRow] = []
    frozen: list[LayerRow] = []

    def close() -> None:
        if len(frozen) == 1:
            found.append(frozen[0])
        elif frozen:
            name = f"{frozen[0].name} … {frozen[-1].name}"
            whole = sum(row.parameters for row in frozen)
            kind = f"{len(frozen)} frozen layers"
            found.append(LayerRow(name, kind, frozen[-1].shape, whole, 0))
        frozen.clear()

    learning = [place for place, row in enumerate(rows) if row.trainable]
    first = min(learning, default=len(rows))
    last = max(learning) if alone and learning else len(rows)
    for place, row in enumerate(rows):
        if place < first or place > last:
            frozen.append(row)
        else:
            close()
            found.append(row)
    close()
    return found


def _params() -> Any:
    from headstart.stage.parameters import read_params

    return read_params(PARAMS)


def _side(params: Any, paths: Mapping[str, Path]) -> int:
    """The side of the images, which a module of TensorFlow Hub may have said."""
    from headstart.backbones.record import read_backbone

    given: int | None = params.backbone.image_size
    return read_backbone(paths["backbone_folder"]).image_size if given is None else given


def _paths() -> Mapping[str, Path]:
    """Where the project's files are, as dvc.yaml says it."""
    from headstart.pipeline import graph
    from headstart.pipeline.plan import options

    stages = {stage.name: options(stage) for stage in graph.stages(Path.cwd())}
    wanted = {
        "manifest": ("download", "manifest"),
        "rejected": ("download", "rejected"),
        "images": ("download", "images"),
        "split_manifest": ("split", "manifest"),
        "sample_folder": ("sample", "sample_folder"),
        "sample": ("sample", "manifest"),
        "backbone_folder": ("backbone", "backbone_folder"),
        "features": ("extract_features", "features"),
        "head": ("train_head", "model"),
        "model": ("fine_tune", "model"),
    }
    return {name: Path(stages[stage][option]) for name, (stage, option) in wanted.items()}


def _images(paths: Mapping[str, Path]) -> pd.DataFrame:
    from headstart.datasets.manifests import read_images

    if not paths["manifest"].exists():
        raise HeadstartError(
            f"There is no {paths['manifest']} yet. Run `dvc repro download` first."
        )
    return read_images(paths["manifest"])


def _used(paths: Mapping[str, Path]) -> pd.DataFrame:
    """What is trained and measured on: the sample, if one was drawn; with the split of each."""
    from headstart.datasets.manifests import read_split

    if paths["sample"].exists():
        return read_split(paths["sample"])
    return _manifest(paths, None, divided=True)


def _manifest(
    paths: Mapping[str, Path], split: str | None, *, divided: bool = False
) -> pd.DataFrame:
    """All images, with their split if they are divided; or those of one split."""
    from headstart.datasets.manifests import SPLITS, read_split

    if split is not None and split not in SPLITS:
        raise HeadstartError(
            f"`--split` must be one of {', '.join(SPLITS)}. Got {split!r} instead."
        )
    if paths["split_manifest"].exists():
        manifest = read_split(paths["split_manifest"])
        return manifest if split is None else manifest[manifest["split"] == split]
    if divided or split is not None:
        raise HeadstartError(
            f"There is no {paths['split_manifest']} yet. Run `dvc repro split` first."
        )
    return _images(paths)


def _one(manifest: pd.DataFrame, name: str | None) -> dict[str, Any]:
    """The row that a name means."""
    import difflib

    from headstart._utils.seeds import uniform
    from headstart._utils.tables import plain

    if name is None:
        seed = _params().seed
        places = [uniform(seed, "show", image_id) for image_id in manifest["image_id"]]
        rows = manifest.assign(place=places).sort_values("place").head(1)
    else:
        exact = manifest["path"] == name
        ends = manifest["path"].str.endswith(f"/{name.removeprefix('/')}")
        begins = manifest["image_id"].str.startswith(name) & (len(name) >= 6)
        rows = next((manifest[each] for each in (exact, ends, begins) if each.any()), manifest[:0])
    if len(rows) and (rows["image_id"] == rows["image_id"].iloc[0]).all():
        return {str(key): value for key, value in rows.iloc[0].items()}
    if rows.empty:
        near = difflib.get_close_matches(str(name), manifest["path"], n=3, cutoff=0.5)
        hint = f" Did you mean {', '.join(map(plain, near))}?" if near else ""
        raise HeadstartError(f"No image's path ends with {name!r}.{hint}")
    listed = ", ".join(plain(path) for path in rows["path"].head(5))
    raise HeadstartError(
        f"{len(rows):,} images end with {name!r}: {listed}{', …' * (len(rows) > 5)}. Name one of "
        "them by its whole path."
    )


def _content(reader: ShardReader, row: Mapping[Any, Any]) -> bytes:
    return reader.read(row["shard"], row["offset"], row["bytes"], row["image_id"])


def _raw(reader: ShardReader, row: Mapping[Any, Any], title: str) -> Raw:
    from headstart.report.grids import Raw, reduced

    return Raw(title, row["width"], row["height"], reduced(_content(reader, row)))


def _features_shape(folder: Path, name: str, images: int) -> str:
    """Of a batch of features, if they are extracted."""
    import numpy as np

    path = folder / f"{name}.npy"
    if not path.is_file():
        return "not extracted yet"
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return f"{(min(images, len(array)), *array.shape[1:])}, {array.dtype}"


def _written(path: Path, *, show: bool) -> None:
    typer.echo(f"Written: {path}")
    if show:
        browse(path)
