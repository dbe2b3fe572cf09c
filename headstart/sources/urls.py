"""Fetches many images by address: a few at a time, retried, bounded, and kept for the next run.

They lie in ``$HEADSTART_CACHE/downloads/images`` (else in the user's cache folder), under their
sha256 where it is known beforehand, else under the sha256 of the address: a second run asks no
server again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.files import sha256_bytes, write_bytes
from headstart._utils.progress import progress
from headstart.sources.http import (
    INTERRUPTED,
    NO_ADDRESS,
    PASSING,
    Passing,
    Patience,
    downloads_folder,
    retry_after,
    short,
)

_AT_ONCE = 8
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Address:
    """An image somewhere else.

    Parameters
    ----------
    url : str
        http(s) address.
    sha256 : str
        Of what it must send; "" where that is not known.
    """

    url: str
    sha256: str

    @property
    def place(self) -> Path:
        """Where it is kept."""
        key = self.sha256 or f"at-{sha256_bytes(self.url.encode())}"
        return downloads_folder() / "images" / key[-2:] / key


def fetch_all(
    wanted: Sequence[Address],
    max_bytes: int,
    max_total_bytes: int,
    patience: Patience | None = None,
) -> Mapping[Address, Path | ImageError]:
    """Where each image lies, or why its server does not deliver it.

    Parameters
    ----------
    wanted : sequence of Address
    max_bytes : int
        Of one image.
    max_total_bytes : int
        Of all.
    patience : Patience, optional
        With each address by itself.

    Raises
    ------
    SourceError
        If an address fails in a way that may pass, after several tries: to leave its image out
        would make the data set depend on the weather. What was fetched is kept.
    """
    patience = patience or Patience(total=600.0)
    found: dict[Address, Path | ImageError] = {}
    passing: list[tuple[Address, str]] = []
    once = list(dict.fromkeys(wanted))
    # Two addresses of one sha256 lie in one place, which one download at a time may write.
    first = list({address.place: address for address in reversed(once)}.values())
    later = [address for address in once if address not in set(first)]
    total = 0
    with _session(patience) as session, progress(len(once), "Fetching", "image") as bar:
        one = partial(_one, session, max_bytes=max_bytes, patience=patience)
        for several in (first, *([address] for address in later)):
            for address, got in _several(one, several):
                bar.update()
                if isinstance(got, Passing):
                    passing.append((address, str(got)))
                    continue
                found[address] = got
                total += got.stat().st_size if isinstance(got, Path) else 0
                if total > max_total_bytes:
                    raise SourceError(
                        f"The addresses send more than the {max_total_bytes:,} bytes that "
                        "`download.max_total_bytes` allows. Raise it if the images are wanted."
                    )
    if passing:
        shown = "\n".join(f"  {address.url}: {text}" for address, text in passing[:10])
        more = f"\n  … and {len(passing) - 10:,} more" if len(passing) > 10 else ""
        raise SourceError(
            f"{len(passing):,} of {len(once):,} addresses could not be fetched, each tried "
            f"{patience.tries} times:\n{shown}{more}\nThe others are kept. Nothing was written. "
            "Run again when the network is back; or take these rows out of the table."
        )
    return found


def _session(patience: Patience) -> requests.Session:
    """Connections that all threads share: an image should not cost a handshake."""
    session = requests.Session()
    session.headers["User-Agent"] = "headstart"
    session.headers["Accept-Encoding"] = "identity"
    session.max_redirects = patience.redirects
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=_AT_ONCE))
    return session


def _several(
    one: Callable[[Address], Path | ImageError], addresses: Sequence[Address]
) -> Iterator[tuple[Address, Path | ImageError | Passing]]:
    """Each address with what came of it, in order."""
    pool = ThreadPoolExecutor(min(_AT_ONCE, len(addresses)))
    try:
        tasks = [pool.submit(one, address) for address in addresses]
        for address, task in zip(addresses, tasks, strict=True):
            try:
                yield address, task.result()
            except Passing as fault:
                yield address, fault
    finally:
        pool.shutdown(cancel_futures=True)


def _one(
    session: requests.Session, address: Address, max_bytes: int, patience: Patience
) -> Path | ImageError:
    """The kept file, or one more download, tried again where that may help."""
    place = address.place
    if place.is_file() and (not address.sha256 or _holds(place, address.sha256)):
        return place
    for failed in range(1, patience.tries + 1):
        try:
            content = _get(session, address.url, max_bytes, patience)
        except ImageError as fault:
            return fault
        except Passing as fault:
            if failed == patience.tries:
                raise
            time.sleep(min(max(patience.pause * 2 ** (failed - 1), fault.wait), 60.0))
            continue
        break
    got = sha256_bytes(content)
    if address.sha256 and got != address.sha256:
        return ImageError(
            "not_fetched", f"{address.url} sent a file with the sha256 {got}, not the table's"
        )
    write_bytes(place, content)
    return place


def _holds(place: Path, sha256: str) -> bool:
    return sha256_bytes(place.read_bytes()) == sha256


def _get(session: requests.Session, url: str, max_bytes: int, patience: Patience) -> bytes:
    try:
        with session.get(url, stream=True, timeout=(patience.connect, patience.read)) as answer:
            return _received(answer, max_bytes, patience)
    except (requests.TooManyRedirects, *NO_ADDRESS) as error:
        raise ImageError("not_fetched", short(error)) from error
    except INTERRUPTED as error:
        raise Passing(short(error)) from error


def _received(answer: requests.Response, max_bytes: int, patience: Patience) -> bytes:
    if answer.status_code in PASSING:
        raise Passing(f"status {answer.status_code}", retry_after(answer))
    if answer.status_code != 200:
        raise ImageError("not_fetched", f"status {answer.status_code} {answer.reason}")
    length = answer.headers.get("Content-Length", "")
    whole = int(length) if length.isdigit() else None
    until = time.monotonic() + patience.total
    content = bytearray()
    while True:
        if (whole or len(content)) > max_bytes:
            raise ImageError(
                "too_large", f"it has more than the {max_bytes:,} bytes that are accepted"
            )
        chunk = answer.raw.read1(_CHUNK, decode_content=False)
        if not chunk:
            break
        content += chunk
        if time.monotonic() > until:
            raise Passing(f"not there after {patience.total:,.0f} s")
    if whole is not None and len(content) < whole:
        raise Passing(f"the connection ended after {len(content):,} of {whole:,} bytes")
    return bytes(content)
