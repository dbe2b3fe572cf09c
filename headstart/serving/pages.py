"""Files of a page, which are read once and sent as they are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files as resources
from typing import Any

from fastapi import FastAPI, Response

READS = ["GET", "HEAD"]


def add_files(app: FastAPI, page: Mapping[str, tuple[str, str, str]]) -> None:
    """Add the files of a page.

    Parameters
    ----------
    app : FastAPI
    page : mapping of str to (package, file, media type)
        By path. The file lies in the folder ``page`` of the package.
    """
    for path, (package, name, kind) in page.items():
        content = (resources(package) / "page" / name).read_bytes()
        app.add_api_route(path, _sends(content, kind), methods=READS)


def _sends(content: bytes, kind: str) -> Any:
    async def send() -> Response:
        return Response(content, headers={"Content-Type": kind})

    return send
