"""A Kaggle data set by owner, name and version, through kagglehub.

A data set in kagglehub's cache is read there. Any other is downloaded as the one archive that
Kaggle sends, kept in ``$HEADSTART_CACHE/downloads/kaggle`` (else in the user's cache folder), and
read like any archive: under the same limits, and never unpacked.
"""

from __future__ import annotations

import base64
import logging
from contextlib import closing
from pathlib import Path
from typing import Any

from headstart._utils import locks
from headstart._utils.errors import SourceError
from headstart._utils.extras import needs_extra
from headstart.archives.members import ArchiveLimits
from headstart.downloads.client import (
    ChecksumError,
    DownloadError,
    RetryPolicy,
    TooLargeError,
    innermost,
)
from headstart.downloads.file import download_file
from headstart.sources.archive import ArchiveSource
from headstart.sources.fetched import downloads_folder
from headstart.sources.folder import FolderSource
from headstart.sources.source import Source

# How to authenticate; this is not a token.
_TOKEN = (
    "Kaggle asks who you are for private data sets and for those with rules to accept. Accept "  # noqa: S105 - as above
    "them on the data set's page; then make a token at https://www.kaggle.com/settings (API) and "
    "put it into the environment variable KAGGLE_API_TOKEN, or by itself into the file "
    "~/.kaggle/access_token. (An older kaggle.json with user name and key goes to "
    "~/.kaggle/kaggle.json.) Never put it into params.yaml: git would keep it."
)

_BAD_TOKEN = "the token holds line breaks or characters that no token has"  # noqa: S105 - a reason


def open_kaggle(
    name: str,
    limits: ArchiveLimits,
    policy: RetryPolicy | None = None,
    encoding: str | None = None,
) -> Source:
    """Return the data set, from kagglehub's cache, from ours, or from Kaggle.

    Parameters
    ----------
    name : str
        ``OWNER/NAME/versions/N``.
    limits : ArchiveLimits
    policy : RetryPolicy, optional
    encoding : str, optional
        Encoding of the names for which the archive states none.

    Raises
    ------
    SourceError
        If it cannot be obtained, or is larger than the limits.
    UnsafeArchiveError
        If the archive holds what no archive of images needs.
    """
    try:
        from kagglehub.cache import Cache
        from kagglehub.handle import parse_dataset_handle
    except ImportError as error:
        raise SourceError(
            needs_extra("`download.source: kaggle`", "kaggle", "kagglehub")
            + " Nothing was written."
        ) from error
    # Its own lines name the address and no more.
    logging.getLogger("kagglehub").setLevel(logging.WARNING)
    handle = parse_dataset_handle(name)
    cached = Cache().load_from_cache(handle)
    if cached is not None:
        print(f"Read from kagglehub's cache: {cached}", flush=True)
        return FolderSource(Path(cached), limits.max_total_bytes)
    archive = _archive(handle)
    archive.parent.mkdir(parents=True, exist_ok=True)
    busy = "Another run (process {holder}) is fetching the same data set. Waiting for it …"
    with locks.exclusive_lock(archive.with_suffix(".lock"), busy):
        if not archive.exists():
            _fetch(handle, archive, limits.max_total_bytes, policy)
    print(f"Read from {archive}, as Kaggle sent it.", flush=True)
    return ArchiveSource(archive, None, limits, encoding)


def kept_data_set(name: str) -> Path | None:
    """Return the folder or the archive in which a data set is kept; None if it is not here."""
    try:
        from kagglehub.cache import Cache
        from kagglehub.handle import parse_dataset_handle
    except ImportError:
        return None
    handle = parse_dataset_handle(name)
    cached = Cache().load_from_cache(handle)
    if cached is not None:
        return Path(cached)
    return archive if (archive := _archive(handle)).exists() else None


def _archive(handle: Any) -> Path:
    """Return the file in which the archive of a data set is kept."""
    folder = downloads_folder() / "kaggle" / str(handle.owner) / str(handle.dataset)
    return folder / f"{handle.version}.archive"


def _fetch(handle: Any, archive: Path, max_bytes: int, policy: RetryPolicy | None) -> None:
    """Ask Kaggle where the archive lies, and download it from there."""
    url, hashes = _ask(handle)
    try:
        download_file(url, archive, digest=_md5(hashes), max_bytes=max_bytes, policy=policy)
    except TooLargeError as error:
        raise SourceError(
            f"Kaggle's archive of {handle} has {error}, by `download.max_total_bytes`. Nothing was "
            "kept. Raise the parameter if you want the data set."
        ) from error
    except ChecksumError as error:
        raise _failure(handle, "the archive arrived damaged and was deleted") from error
    except DownloadError as error:
        raise _failure(handle, f"{error}. {error.advice}".rstrip(". ")) from error


def _ask(handle: Any) -> tuple[str, str]:
    """Return the signed address to which Kaggle redirects, and the hashes that it states."""
    import requests
    from kagglehub.clients import build_kaggle_client
    from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

    request = ApiDownloadDatasetRequest()
    request.owner_slug = handle.owner
    request.dataset_slug = handle.dataset
    request.dataset_version_number = handle.version
    try:
        # The body stays unread.
        with (
            build_kaggle_client() as client,
            closing(client.datasets.dataset_api_client.download_dataset(request)) as answer,
        ):
            return answer.url, answer.headers.get("x-goog-hash", "")
    except requests.HTTPError as error:
        status = 0
        if error.response is not None:
            status = error.response.status_code
            error.response.close()
        raise _failure(handle, f"it answered with status {status}", status) from error
    except requests.exceptions.InvalidHeader:
        raise _bad_credentials(_BAD_TOKEN) from None  # the cause's text holds the token
    except requests.RequestException as error:
        raise _failure(handle, innermost(error)) from error
    except UnicodeError:
        raise _bad_credentials(
            "they are not plain text (UTF-8, without special characters)"
        ) from None
    except OSError as error:
        raise _bad_credentials(f"{error.filename} cannot be read: {error.strerror}") from error
    except ValueError as error:
        # kagglehub's own sentences name the file; those of other libraries hold the token.
        own = "credentials file" in str(error)
        raise _bad_credentials(str(error) if own else _BAD_TOKEN) from None
    except (TypeError, AttributeError, KeyError):
        raise _bad_credentials(
            'kaggle.json does not have the form {"username": "…", "key": "…"}'
        ) from None


def _bad_credentials(why: str) -> SourceError:
    return SourceError(
        f"The credentials for Kaggle cannot be used: {why}. Nothing was written. Make a new token, "
        "or delete the file, since public data sets need none. They are read from "
        "KAGGLE_API_TOKEN, ~/.kaggle/access_token, and kaggle.json in ~/.kaggle or "
        f"$KAGGLE_CONFIG_DIR. {_TOKEN}"
    )


def _md5(hashes: str) -> str | None:
    """Return the hex MD5 among the hashes that Google's storage states, in base64."""
    stated = dict(each.strip().partition("=")[::2] for each in hashes.split(","))
    return base64.b64decode(stated["md5"]).hex() if "md5" in stated else None


def _failure(handle: Any, why: str, status: int = 0) -> SourceError:
    page = f"https://www.kaggle.com/datasets/{handle.owner}/{handle.dataset}"
    if status in {401, 403}:
        return SourceError(f"Kaggle refused {handle} (status {status}). {_TOKEN} Page: {page}")
    if status == 404:
        return SourceError(
            f"Kaggle knows no data set {handle} (status 404). Nothing was written. Look up owner, "
            f"name and version on {page} (versions stand under Data Card); a private one needs a "
            f"token. {_TOKEN}"
        )
    return SourceError(
        f"Kaggle could not be asked for {handle}: {why}. Nothing was written; what was fetched is "
        "kept. Run again when the network is back. Without one: fetch the data set with a browser "
        f"from {page}, bring the zip here, and use `download.source: archive` with its path and "
        "sha256."
    )
