"""`headstart list-objects`: list the images in object storage, and say what is new."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart._utils.errors import ParameterError, SourceError
from headstart._utils.names import shown
from headstart.cli.front import command, read_parameters

if TYPE_CHECKING:
    from headstart.objects.place import Stored

#: Exit code of ``--check`` if the bucket is not what the listing says.
DIFFERENT = 5
_NAMED = 3  # keys of each kind that are named


@command(
    epilog="Examples: headstart list-objects && dvc repro | headstart list-objects --check",
    needs="project",
)
def list_objects(
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; exit code 5 if the bucket is not what the listing says."
        ),
    ] = False,
) -> None:
    """List the images in object storage, for DVC to watch.

    The listing is the file in `download.location`: each object below `download.url` with its bytes
    and its version. The next `dvc repro` fetches what is new in it. Commit it: it says what the
    run was trained on.
    """
    from headstart.objects import listing
    from headstart.objects.place import PROTOCOLS
    from headstart.objects.store import open_store
    from headstart.sources.parameters import place_of

    download = read_parameters().download
    if download.source not in PROTOCOLS:
        raise ParameterError(
            f"`download.source` is {download.source}, and this command is for "
            f"{', '.join(PROTOCOLS)}. Nothing was listed. Set `download.source: s3` and "
            "`download.url: s3://BUCKET/PREFIX` first."
        )
    if download.sha256 is not None:
        raise ParameterError(
            "`download.sha256` is set, so `download.url` is an archive, which needs no listing. "
            "Nothing was listed. For class folders, set `download.sha256: null`."
        )
    place, path = place_of(download), Path(download.location)
    old: tuple[Stored, ...] = ()
    if path.exists():
        try:
            old = listing.read_listing(path, place).objects
        except SourceError:
            if path.is_dir() or check:
                raise
            typer.echo(f"{path} is no listing of {place.url}/, and is replaced.", err=True)
    found = listing.list_objects(open_store(place), download.max_total_bytes)
    change = listing.difference(old, found.objects)
    typer.echo(f"{listing.described(found)}: {change}.")
    kinds = {"new": change.added, "changed": change.changed, "removed": change.removed}
    for kind, keys in kinds.items() if old else ():
        for key in keys[:_NAMED]:
            typer.echo(f"  {kind}: {shown(key)}")
    if check:
        raise typer.Exit(DIFFERENT if change else 0)
    if change or not path.exists():
        listing.write_listing(path, found)
        typer.echo(f"Written: {path}. `dvc repro` fetches what is new.")
