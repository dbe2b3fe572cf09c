"""The address of objects: a bucket, a prefix, and the ways to reach them; never a credential."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self


@dataclass(frozen=True)
class Protocol:
    """A kind of object storage.

    Attributes
    ----------
    title : str
        Its name for people.
    package : str
        What fsspec needs for it.
    extra : str
        The extra of headstart that installs it; "" if none does.
    anonymous : tuple of (option, value)
        The package's option for requests without credentials.
    credentials : str
        Where credentials are looked for, as a sentence.
    """

    title: str
    package: str
    extra: str
    anonymous: tuple[str, object]
    credentials: str


#: By the scheme of an address.
PROTOCOLS = {
    "s3": Protocol(
        "Amazon S3",
        "s3fs",
        "s3",
        ("anon", True),
        "They are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from AWS_PROFILE or "
        "`download.profile` with ~/.aws, or from the machine's role.",
    ),
    "gs": Protocol(
        "Google Cloud Storage",
        "gcsfs",
        "",
        ("token", "anon"),
        "They are read from GOOGLE_APPLICATION_CREDENTIALS, from `gcloud auth application-default "
        "login`, or from the machine's role.",
    ),
    "abfs": Protocol(
        "Azure Blob Storage",
        "adlfs",
        "",
        ("anon", True),
        "They are read from AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, or with "
        "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.",
    ),
}


@dataclass(frozen=True)
class Place:
    """A prefix in a bucket, or one object.

    Parameters
    ----------
    url : str
        ``s3://BUCKET/PREFIX``, without a slash at its end.
    endpoint_url : str, optional
        The server; default: the provider's own.
    anonymous : bool
        Send no credentials.
    profile : str, optional
        The profile of ~/.aws to use.
    """

    url: str
    endpoint_url: str | None = None
    anonymous: bool = False
    profile: str | None = field(default=None, compare=False)

    @property
    def scheme(self) -> str:
        """``s3``, ``gs`` or ``abfs``."""
        return self.url.partition("://")[0]

    @property
    def protocol(self) -> Protocol:
        """The row of :data:`PROTOCOLS`."""
        return PROTOCOLS[self.scheme]

    @property
    def bucket(self) -> str:
        """The bucket; a container with Azure."""
        return self.url.partition("://")[2].partition("/")[0]

    @property
    def key(self) -> str:
        """What follows the bucket; "" for all of it."""
        return self.url.partition("://")[2].partition("/")[2]

    @property
    def server(self) -> str:
        """The server in words."""
        return self.endpoint_url or self.protocol.title

    @property
    def identity(self) -> str:
        """What tells two places apart, whoever asks."""
        return f"{self.endpoint_url or ''} {self.url}".strip()

    def at(self, url: str) -> Self:
        """Return another address on the same server, reached in the same way."""
        return replace(self, url=url.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Stored:
    """An object.

    Parameters
    ----------
    key : str
        In its bucket.
    size : int
        Bytes.
    version : str
        Changes with the content: the ETag, without quotation marks.
    """

    key: str
    size: int
    version: str
