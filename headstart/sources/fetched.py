"""Downloads of sources, kept for the next run.

They are in ``$HEADSTART_CACHE/downloads`` (else in the user's cache folder): archives under their
SHA-256; single images in the folder ``images``, under their SHA-256 where it is known beforehand,
else under the SHA-256 of the address. A second run asks no server again.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from headstart._utils import locks
from headstart._utils.cache import cache_folder
from headstart._utils.errors import ImageError, SourceError
from headstart._utils.files import sha256_bytes, sha256_file, write_bytes
from headstart._utils.names import without_credentials
from headstart._utils.progress import progress
from headstart._utils.tables import counted
from headstart._utils.threads import in_threads
from headstart.downloads.client import (
    ChecksumError,
    DownloadError,
    HttpClient,
    RetryPolicy,
    TooLargeError,
)
from headstart.downloads.file import download_file, kept_bytes

_CONNECTIONS = 8


def downloads_folder() -> Path:
    """Return the folder of kept downloads."""
    return cache_folder() / "downloads"


@contextmanager
def fetched_once(sha256: str) -> Iterator[tuple[Path, bool]]:
    """Yield the file for a SHA-256 under an exclusive lock, and whether it is there, intact."""
    target = downloads_folder() / sha256
    target.parent.mkdir(parents=True, exist_ok=True)
    busy = "Another run (process {holder}) is fetching the same file. Waiting for it …"
    with locks.exclusive_lock(target.with_name(f"{sha256}.lock"), busy):
        present = target.exists()
        if present and sha256_file(target) != sha256:
            print(f"{target} was damaged and is downloaded again.", file=sys.stderr)
            target.unlink()
            present = False
        yield target, present


def kept_image(key: str) -> Path:
    """Return the file that an image is kept in, by its SHA-256 or another key."""
    return downloads_folder() / "images" / key[-2:] / key


def fetch_archive(url: str, sha256: str, max_bytes: int, policy: RetryPolicy | None = None) -> Path:
    """Return the file with this SHA-256, from the cache or from its address.

    Raises
    ------
    SourceError
        If the server does not deliver it within the bounds, or delivers another file.
    """
    name = without_credentials(url)
    with fetched_once(sha256) as (target, present):
        if present:
            return target
        try:
            download_file(url, target, digest=sha256, max_bytes=max_bytes, policy=policy)
        except TooLargeError as error:
            raise SourceError(
                f"{name} has {error}, by `download.max_total_bytes`. What was downloaded is "
                "deleted. Raise the parameter if you want the file."
            ) from error
        except ChecksumError as error:
            raise SourceError(
                f"{name} sent another file than `download.sha256` names.\n"
                f"  expected {error.expected}\n  got      {error.got}\n"
                "It was deleted. The file may have been replaced, the server may have sent a "
                "login page instead, or a proxy changed it. Open the address in a browser; if the "
                "new file is the one you want, put its SHA-256 into the parameter."
            ) from error
        except DownloadError as error:
            raise SourceError(
                f"{name} could not be downloaded: {error}. {kept_bytes(target):,} bytes are kept; "
                f"run again to resume. {error.advice}".rstrip()
            ) from error
    return target


@dataclass(frozen=True)
class Address:
    """An image on a server.

    Parameters
    ----------
    url : str
        http(s) address.
    sha256 : str
        Of the file that it must send; "" if unknown.
    """

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The address as it is shown and recorded: without credentials."""
        return without_credentials(self.url)

    @property
    def target(self) -> Path:
        """The file that it is kept in."""
        key = self.sha256 or f"at-{sha256_bytes(self.url.encode())}"
        return kept_image(key)


def fetch_images(
    wanted: Sequence[Address],
    max_bytes: int,
    max_total_bytes: int,
    policy: RetryPolicy | None = None,
) -> Mapping[Address, Path | ImageError]:
    """Return the file of each image, or the reason that its server does not deliver it.

    Parameters
    ----------
    wanted : sequence of Address
    max_bytes : int
        Of one image.
    max_total_bytes : int
        Of all images.
    policy : RetryPolicy, optional
        For each address.

    Raises
    ------
    SourceError
        If an address still fails with a transient error: a data set without its image would
        depend on the state of the network. The other images are kept.
    """
    policy = policy or RetryPolicy(total=600.0)
    found: dict[Address, Path | ImageError] = {}
    failed: list[tuple[Address, str]] = []
    once = list(dict.fromkeys(wanted))
    # Addresses with one SHA-256 share a file, which one download at a time may write.
    first = list({address.target: address for address in reversed(once)}.values())
    later = [address for address in once if address not in set(first)]
    total = 0

    def fetch(address: Address) -> Path | ImageError | DownloadError:
        return _fetch_image(client, address, max_bytes)

    with (
        HttpClient(policy, _CONNECTIONS) as client,
        progress(len(once), "Downloading", "image") as bar,
        closing(in_threads(fetch, first, workers=_CONNECTIONS)) as several,
    ):
        one_by_one = ((address, fetch(address)) for address in later)
        for address, got in itertools.chain(several, one_by_one):
            bar.update()
            if isinstance(got, DownloadError):
                failed.append((address, str(got)))
                continue
            found[address] = got
            total += got.stat().st_size if isinstance(got, Path) else 0
            if total > max_total_bytes:
                raise SourceError(
                    f"The addresses send more than the {max_total_bytes:,} bytes that "
                    "`download.max_total_bytes` allows. Raise it if you want the images."
                )
    if failed:
        shown = "\n".join(f"  {address.name}: {text}" for address, text in failed[:10])
        more = f"\n  … and {len(failed) - 10:,} more" if len(failed) > 10 else ""
        raise SourceError(
            f"{len(failed):,} of {counted(len(once), 'address', 'addresses')} could not be "
            f"downloaded, in up to {counted(policy.attempts, 'attempt')} each:\n{shown}{more}\nThe "
            "others are kept. Nothing was written. Run again when the network is back, or remove "
            "these rows from the table."
        )
    return found


def _fetch_image(
    client: HttpClient, address: Address, max_bytes: int
) -> Path | ImageError | DownloadError:
    """Return the file, kept or downloaded; an ImageError; or a transient DownloadError."""
    target = address.target
    if target.is_file() and address.sha256 in ("", sha256_file(target)):
        return target
    try:
        content = client.read(address.url, max_bytes)
    except TooLargeError as error:
        return ImageError("too_large", str(error))
    except DownloadError as error:
        return error if error.transient else ImageError("not_fetched", str(error))
    got = sha256_bytes(content)
    if address.sha256 and got != address.sha256:
        return ImageError(
            "not_fetched", f"{address.name} sent a file with the sha256 {got}, not the table's"
        )
    write_bytes(target, content)
    return target
