"""`headstart store`: the cached features by fingerprint, their size, and what to do with them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart._utils.disk import amount, require_room
from headstart._utils.errors import HeadstartError, ParameterError
from headstart._utils.tables import columns, counted
from headstart.cli.front import command, register, require_project

if TYPE_CHECKING:
    from headstart.features.store import FeatureStore, RecordedStore

_DAY = 86_400
_SHOWN = 12  # digits of a fingerprint

Fingerprint = Annotated[
    str, typer.Argument(metavar="FINGERPRINT", help="Its first digits, as `headstart store` shows.")
]


def _app() -> typer.Typer:
    app = typer.Typer(
        name="store",
        help="Show, check, prune, export and import the cached features.",
        epilog="Examples: headstart store | headstart store verify | headstart store prune "
        "--unused",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    app.callback()(_main)
    register(app, verify, prune, export)
    app.command("import", epilog=vars(import_)["epilog"])(import_)
    return app


def _main(context: typer.Context) -> None:
    """List the feature stores, one per fingerprint, if there is no subcommand."""
    if context.invoked_subcommand is None:
        _list()


@command(epilog="Example: headstart store")
def _list() -> None:
    from headstart.features.store import store_folder

    stores = _all()
    rows = [("fingerprint", "features of", "rows", "size", "last written")]
    for each in stores:
        age = (time.time() - _written(each.path)) / _DAY
        days = "today" if age < 1 else f"{counted(int(age), 'day')} ago"
        size = amount(_size(each.path))
        rows.append((each.path.stem[:_SHOWN], _named(each), f"{each.rows:,}", size, days))
    if stores:
        typer.echo(columns(rows, "llrrr"))
    total = sum(_size(each.path) for each in stores)
    typer.echo(f"{counted(len(stores), 'store')} in {store_folder()}, {amount(total)}.")


@command(epilog="Examples: headstart store verify | headstart store verify 3fa9")
def verify(
    fingerprint: Annotated[
        str | None, typer.Argument(metavar="FINGERPRINT", help="Only this one. Default: all.")
    ] = None,
) -> None:
    """Read every cached feature and compare it with its checksum.

    Damaged ones are removed, so that the next run computes them again. Exit code: 0 if there were
    none, 1 otherwise.
    """
    damaged = 0
    for each in _all() if fingerprint is None else [_found(fingerprint)]:
        with _opened(each) as store:
            store.repairing(store.check_integrity)
            bad = len(store.missing(store.keys()))
            if not store.read_only:  # what could not be read at all is missing, too
                bad = each.rows - len(store.keys())
        damaged += bad
        result = f"{bad:,} damaged" if bad else "intact"
        typer.echo(f"{each.path.stem[:_SHOWN]}  {_named(each)}: {each.rows:,} rows, {result}")
    for path in _unreadable() if fingerprint is None else ():
        damaged += 1
        typer.echo(f"{path} cannot be read; the next run that needs it moves it aside.")
    if damaged:
        raise typer.Exit(1)


@command(
    epilog="Examples: headstart store prune --unused | headstart store prune --days 90 --remove"
)
def prune(
    days: Annotated[
        int | None, typer.Option(min=0, help="Stores that were not written to for this many days.")
    ] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Stores that no commit of this project uses.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove them. Default: only show them.")
    ] = False,
) -> None:
    """Remove feature stores that are no longer needed.

    Computing their features again costs the passes. With both options, a store must meet both
    conditions. Other projects may use a store that no commit of this one does: their runs would
    compute it again.
    """
    if days is None and not unused:
        raise ParameterError(
            "Name the stores to prune: `--days N`, `--unused`, or both. Nothing was removed."
        )
    chosen = _all()
    if days is not None:
        chosen = [each for each in chosen if time.time() - _written(each.path) >= days * _DAY]
    if unused:
        used = _used()
        chosen = [each for each in chosen if each.path.stem not in used]
    total = amount(sum(_size(each.path) for each in chosen))
    for each in chosen:
        typer.echo(f"{each.path.stem[:_SHOWN]}  {_named(each)}: {amount(_size(each.path))}")
        if remove:
            with _opened(each) as store, store.filling():
                store.close()
                for suffix in ("-wal", "-shm", ""):
                    Path(f"{each.path}{suffix}").unlink(missing_ok=True)
    what = f"{counted(len(chosen), 'store')}, {total}"
    if remove:
        typer.echo(f"Removed: {what}.")
    else:
        typer.echo(f"{what}. Nothing was removed" + ("; --remove does it." if chosen else "."))


@command(
    epilog="Examples: headstart store export 3fa9 features/ | headstart store export 3fa9 f.parquet"
)
def export(
    fingerprint: Fingerprint,
    output: Annotated[Path, typer.Argument(help="A folder, or a file that ends in .parquet.")],
) -> None:
    """Write the features of a fingerprint as .npy, or as Parquet.

    A folder gets features.npy (float32, one row per image or view), rows.csv (image_id, the SHA-256
    of the image, and view) and record.json (what the features are of). Rows are sorted. Parquet
    holds the same in one file, and needs the extra `parquet`.
    """
    from headstart.cli import store_files
    from headstart.features.store import row_bytes

    found = _found(fingerprint)
    parquet = output.suffix == store_files.PARQUET
    if output.exists() and (output.is_file() != parquet or not parquet):
        raise ParameterError(f"{output} exists already. Nothing was written. Name another path.")
    require_room(
        {output.absolute().parent: found.rows * row_bytes(found.shape)},
        "The features",
        "Name a path on another disk.",
    )
    with _opened(found) as store:
        write = store_files.write_parquet if parquet else store_files.write_folder
        count = write(store, output)
    typer.echo(f"Written: {output}, {counted(count, 'row')} of {found.path.stem}")


@command(epilog="Example: headstart store import features/")
def import_(
    path: Annotated[Path, typer.Argument(help="What `headstart store export` wrote.")],
) -> None:
    """Add exported features to the store of their fingerprint.

    Features that the store has stay as they are. No pass is counted. Import only features that you
    trust: their checksums say nothing of how they were computed.
    """
    from headstart.cli import store_files
    from headstart.features.store import FeatureStore, row_bytes, store_folder

    exported = store_files.read_exported(path)
    size = exported.number * row_bytes(exported.shape)
    require_room({store_folder(): size}, "The features", "Name another HEADSTART_CACHE.")
    with FeatureStore(exported.record, exported.shape) as store:
        added = store_files.adopt(store, exported)
        typer.echo(
            f"{counted(exported.number, 'row')} of {store.fingerprint}: {added:,} added, "
            f"{exported.number - added:,} known already."
        )


def _all() -> list[RecordedStore]:
    from headstart.features.store import recorded_stores

    return list(recorded_stores())


def _unreadable() -> list[Path]:
    from headstart.features.store import store_folder

    readable = {each.path for each in _all()}
    return sorted(path for path in store_folder().glob("*.sqlite") if path not in readable)


def _found(fingerprint: str) -> RecordedStore:
    stores = _all()
    found = [each for each in stores if each.path.stem.startswith(fingerprint)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(each.path.stem[:_SHOWN] for each in found or stores) or "none"
    problem = "begins several fingerprints" if found else "begins no fingerprint"
    raise ParameterError(f"{fingerprint!r} {problem} in the store: {known}. Nothing was done.")


def _opened(found: RecordedStore) -> FeatureStore:
    from headstart.features.store import FeatureStore

    return FeatureStore(found.record, found.shape, found.path.parent)


def _used() -> frozenset[str]:
    from headstart.pipeline.features_in_use import features_in_use

    require_project(Path.cwd(), commits=True)
    found = features_in_use(Path.cwd())
    if found.unknown:
        names: Sequence[str] = [commit[:_SHOWN] or "this folder" for commit in found.unknown]
        raise HeadstartError(
            f"The features of {counted(len(names), 'version')} of this project ({names[0]}"
            f"{', …' if len(names) > 1 else ''}) are not in DVC's cache, so it is not known which "
            "stores they use. Nothing was removed. `dvc fetch --all-commits` fetches them from a "
            "remote; `--days N` prunes by age."
        )
    return found.fingerprints


def _named(found: RecordedStore) -> str:
    """Return a short description of a store's features."""
    record = found.record
    words = [str(record.get("backbone", "?")), f"{record.get('image_size', '?')} px"]
    words += [str(record["cut"])] if record.get("cut") else []
    words += ["augmented views"] if record.get("augment") else []
    words += [str(record["engine"])] if record.get("engine") else []
    return ", ".join([*words, "×".join(map(str, found.shape))])


def _size(path: Path) -> int:
    files = (Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm"))
    return sum(file.stat().st_size for file in files if file.is_file())


def _written(path: Path) -> float:
    files = (Path(f"{path}{suffix}") for suffix in ("", "-wal"))
    return max(file.stat().st_mtime for file in files if file.is_file())


app = _app()
