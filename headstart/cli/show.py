"""`headstart show`: raw images, folders, a batch, the model, and modules of TensorFlow Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headstart._utils.errors import HeadstartError
from headstart._utils.tables import columns as aligned
from headstart._utils.tables import counted, plain
from headstart.cli.front import StageFiles, command, read_parameters, register, written
from headstart.cli.images import Capitals, shown_names
from headstart.cli.show_model import model, module

if TYPE_CHECKING:
    import pandas as pd

    from headstart.datasets.shards import ShardReader
    from headstart.report.grids import Cell

app = typer.Typer(
    name="show",
    help="Show images, folders, a batch, the model, or a Hub module.",
    epilog="Example: headstart show images --open",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Output = Annotated[Path, typer.Option("--output", help="The PNG file to write.")]
Open = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]
_FOLDER = Path("data/show")
_NAMES = 20  # classes listed by name


@command(
    epilog="Example: headstart show images --rows 4 --columns 5 --split train --open",
    needs="project",
)
def images(
    rows: Annotated[int, typer.Option(min=1, max=20, help="Rows of the grid.")] = 4,
    columns: Annotated[int, typer.Option(min=1, max=20, help="Images per row.")] = 5,
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option(help="Only this split. Default: all."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Only this class. Default: all.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Select other images. Default: the seed of params.yaml.")
    ] = None,
    capitals: Capitals = False,
    output: Output = _FOLDER / "images.png",
    show: Open = False,
) -> None:
    """Draw a grid of raw images, before any resizing.

    Each is titled with its class and shape. The seed selects them, so the same call shows the same
    images.
    """
    from headstart.datasets.shards import ShardReader
    from headstart.report.grids import draw_grid
    from headstart.report.selection import select_by_seed

    files = StageFiles(Path.cwd())
    manifest = _manifest(files, split)
    known = sorted(manifest["label"].unique())
    names = dict(zip(known, shown_names(known, capitals=capitals), strict=True))
    if label is not None:
        if label not in known:
            raise HeadstartError(
                f"There is no class {label!r}. Known classes: {', '.join(map(plain, known[:30]))}."
            )
        manifest = manifest[manifest["label"] == label]
    number = read_parameters().seed if seed is None else seed
    different = manifest.drop_duplicates("image_id")
    chosen = select_by_seed(different, rows * columns, number).to_dict("records")
    with ShardReader(files("download", "images")) as reader:
        draw_grid([_raw(reader, row, names[row["label"]]) for row in chosen], columns, output)
    for row in chosen:
        shape = f"({row['height']}, {row['width']}, 3)"
        typer.echo(f"{plain(names[row['label']])} – {shape}  {plain(row['path'])}")
    written(output, show=show)


@command(
    epilog="Example: headstart show image Cat/1.jpg --open",
    needs="project",
)
def image(
    name: Annotated[str | None, typer.Argument(help="Path, end of a path, or image_id.")] = None,
    output: Output = _FOLDER / "image.png",
    show: Open = False,
) -> None:
    """Show one image with its path, class, shape, format and split.

    NAME is its path, the end of its path, or the beginning of its image_id. Without NAME, the seed
    selects an image.
    """
    from headstart.datasets.shards import ShardReader
    from headstart.report.grids import draw_grid
    from headstart.report.selection import find_image, select_by_seed

    files = StageFiles(Path.cwd())
    manifest = _manifest(files, None)
    row: Mapping[Any, Any]
    if name is None:
        [row] = select_by_seed(manifest, 1, read_parameters().seed).to_dict("records")
    else:
        row = find_image(manifest, name)
    with ShardReader(files("download", "images")) as reader:
        draw_grid([_raw(reader, row, row["path"].rpartition("/")[2])], 1, output)
    rows = [
        ("path", row["path"]),
        ("class", row["label"]),
        ("shape", f"({row['height']}, {row['width']}, 3)"),
        ("file", f"{row['format']}, {row['bytes']:,} bytes"),
        ("split", row.get("split") or row["predefined_split"] or "not split yet"),
        ("group", row["group"] or "none"),
        ("image_id", row["image_id"]),
    ]
    typer.echo(aligned([(key, plain(str(value))) for key, value in rows], "ll"))
    written(output, show=show)


@command(
    epilog="Example: headstart show tree",
    needs="project",
)
def tree(
    most: Annotated[
        int, typer.Option(min=1, help="Maximum number of subfolders shown per folder.")
    ] = 30,
) -> None:
    """Show the folders of the images, and the classes by split.

    The trees count the images kept from each folder of the source, and those of a copied sample.
    """
    from headstart.datasets.manifests import read_rejected, read_split
    from headstart.report import structure

    files = StageFiles(Path.cwd())
    typer.echo(structure.tree("the source", _images(files)["path"], most))
    rejected = files("download", "rejected")
    if rejected.exists():
        files_rejected = counted(len(read_rejected(rejected)), "file")
        typer.echo(f"{files_rejected} rejected (reasons: {rejected}).")
    manifest = files("split", "manifest")
    if not manifest.exists():
        typer.echo("\nNot split yet: `dvc repro split`.")
        return
    typer.echo(f"\n{structure.division(read_split(manifest), most)}")
    folder = files("sample", "sample_folder")
    copied = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.*"))
              if path.is_file()]  # fmt: skip
    if copied:
        typer.echo(f"\n{structure.tree(folder.as_posix(), copied, most)}")
    else:
        typer.echo(
            "\nNo sample was copied: `sample.train_per_class` and `validation_per_class` are null."
        )


@command(
    epilog="Example: headstart show batch --capitals",
    needs="project",
)
def batch(capitals: Capitals = False) -> None:
    """Show the shapes of the first batch of each split.

    The table lists pixels, labels and, once they are extracted, features. The order of the classes
    follows.
    """
    import numpy as np

    from headstart.datasets.manifests import class_names
    from headstart.datasets.shards import ShardReader
    from headstart.images.resize import pixels

    params, files = read_parameters(), StageFiles(Path.cwd())
    manifest = _used(files)
    labels = class_names(manifest)
    size, side = params.train_head.batch_size, _side(params, files)
    bits = params.backbone.gray16_bits
    rows = [("split", "images", "pixels", "values", "labels", "features")]
    with ShardReader(files("download", "images")) as reader:
        for name in ("train", "validation", "test"):
            part = manifest[manifest["split"] == name]
            if part.empty:
                continue
            first = part.head(size).to_dict("records")
            array = np.stack(
                [pixels(_content(reader, row), side, gray16_bits=bits) for row in first]
            )
            one_hot = np.array([[row["label"] == label for label in labels] for row in first])
            values = f"{array.dtype}, {array.min()} to {array.max()}"
            features = _features_shape(files("extract_features", "features"), name, len(first))
            shapes = (str(array.shape), values, str(one_hot.shape), features)
            rows.append((name, f"{len(part):,}", *shapes))
    typer.echo(aligned(rows, "lrllll"))
    names = ", ".join(map(plain, shown_names(labels, capitals=capitals)[:_NAMES]))
    more = f", … ({len(labels)} in all)" if len(labels) > _NAMES else ""
    typer.echo(f"\nLabels in order: {names}{more}")
    typer.echo("The network scales the pixels itself, as it did when its weights were trained.")


register(app, images, image, tree, batch, model, module)


def _side(params: Any, files: StageFiles) -> int:
    """Return the side of the images, which may be fixed by a TensorFlow Hub module."""
    from headstart.backbones.record import read_backbone

    given: int | None = params.backbone.image_size
    return (
        read_backbone(files("backbone", "backbone_folder")).image_size if given is None else given
    )


def _images(files: StageFiles) -> pd.DataFrame:
    from headstart.datasets.manifests import read_images

    path = files("download", "manifest")
    if not path.exists():
        raise HeadstartError(f"There is no {path} yet. Run `dvc repro download` first.")
    return read_images(path)


def _used(files: StageFiles) -> pd.DataFrame:
    """Return the images to train and evaluate on: the sample if there is one."""
    from headstart.datasets.manifests import read_split

    sample = files("sample", "manifest")
    return read_split(sample) if sample.exists() else _manifest(files, None, divided=True)


def _manifest(files: StageFiles, split: str | None, *, divided: bool = False) -> pd.DataFrame:
    """Return all images, or those of one split, with the splits as soon as they exist."""
    from headstart.datasets.manifests import read_split

    path = files("split", "manifest")
    if path.exists():
        manifest = read_split(path)
        return manifest if split is None else manifest[manifest["split"] == split]
    if divided or split is not None:
        raise HeadstartError(f"There is no {path} yet. Run `dvc repro split` first.")
    return _images(files)


def _content(reader: ShardReader, row: Mapping[Any, Any]) -> bytes:
    return reader.read(row["shard"], row["offset"], row["bytes"], row["image_id"])


def _raw(reader: ShardReader, row: Mapping[Any, Any], title: str) -> Cell:
    from headstart.report.grids import Cell, raw_caption, reduced

    caption = raw_caption(title, row["width"], row["height"])
    return Cell(caption, reduced(_content(reader, row)))


def _features_shape(folder: Path, name: str, images: int) -> str:
    """Return the shape and type of a batch of features, if they are extracted."""
    import numpy as np

    path = folder / f"{name}.npy"
    if not path.is_file():
        return "not extracted yet"
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return f"{(min(images, len(array)), *array.shape[1:])}, {array.dtype}"
