"""The errors of object storage in words: what may pass by itself, and what a person has to change.

The file systems raise errors of many libraries. Nothing of a request is repeated, because its
headers and its query may hold a signature.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from headstart._utils.errors import SourceError, chain
from headstart._utils.names import without_credentials
from headstart._utils.tables import plain
from headstart.downloads.client import DownloadError
from headstart.objects.place import Place

_LONGEST = 200  # characters of a server's own words
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_PASSING_CODES = {"SlowDown", "InternalError", "RequestTimeout"}
_DENIED = {401, 403}
_DENIED_CODES = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_REGION = {
    "AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException",
    "301",
}  # fmt: skip
_CHANGED = {"PreconditionFailed", "NoSuchKey", "InvalidRange", "404", "412", "416"}
#: Classes of the libraries, by name: to import them costs seconds.
_NO_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError",
    "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError",
    "CredentialRetrievalError", "ClientAuthenticationError",
}  # fmt: skip
_INTERRUPTED = {
    "HTTPClientError", "ClientError", "ClientPayloadError", "IncompleteReadError",
    "ConnectionError", "IncompleteRead", "ServiceRequestError", "ServiceResponseError",
    "ResponseParserError",  # an overloaded server may send a page instead of XML
}  # fmt: skip


class ChangedError(Exception):
    """An object is not, or no longer, the one that was listed."""


def explained(error: Exception, place: Place) -> Exception:
    """Return an error that says what to do.

    Returns
    -------
    Exception
        A transient :class:`DownloadError`; :class:`ChangedError`; a :class:`SourceError` about what
        a person has to change; or the error itself, if it is none of a server.
    """
    response = _response(error)
    if response is not None:
        return _answered(response, place)
    names = {each.__name__ for link in chain(error) for each in type(link).__mro__}
    if names & _NO_CREDENTIALS or isinstance(error, PermissionError):
        return _refused(place, f"there are no credentials, or not the right ones ({_words(error)})")
    for name, made in _BY_NAME.items():
        if name in names:
            return made(place)
    if names & _INTERRUPTED or isinstance(error, OSError):
        return DownloadError(_words(error), transient=True)
    return error


def _response(error: BaseException) -> Mapping[str, Any] | None:
    """Return the answer of an S3 server behind an error, if there is one."""
    for link in chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, Mapping) and "Error" in response:
            return response
    return None


def _answered(response: Mapping[str, Any], place: Place) -> Exception:
    code = plain(str(response["Error"].get("Code", ""))[:_LONGEST])
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    found: Exception
    if status in _PASSING or code in _PASSING_CODES:
        found = DownloadError(f"the server answered {code}", transient=True)
    elif code == "NoSuchBucket":
        found = _no_bucket(place)
    elif code in _REGION:
        found = _wrong_region(response, place)
    elif code in _CHANGED:
        found = ChangedError(f"the server answered {code}")
    elif code == "InvalidObjectState":
        found = _archived(place)
    elif status in _DENIED or code in _DENIED_CODES:
        found = _refused(place, f"the server answered {code}")
    else:
        said = plain(without_credentials(str(response["Error"].get("Message", "")))[:_LONGEST])
        found = SourceError(
            f"{place.server} refused a request for {place.url}: {code} ({said}). Nothing was "
            "written. Check `download.url` and `download.endpoint_url`."
        )
    return found


def _no_bucket(place: Place) -> SourceError:
    return SourceError(
        f"There is no bucket `{place.bucket}` at {place.server}. Nothing was written. Check "
        "the bucket in `download.url`, and `download.endpoint_url` if it is not on AWS."
    )


def _no_profile(place: Place) -> SourceError:
    return SourceError(
        f"There is no profile `{plain(place.profile or '')}` in ~/.aws (or it is the one that "
        "AWS_PROFILE names). Nothing was written. Name an existing one in `download.profile`; "
        "`aws configure list-profiles` lists them."
    )


def _archived(place: Place) -> SourceError:
    return SourceError(
        f"An object below {place.url} is archived, and has to be restored before it can be "
        "read. Nothing was written. Restore it in the storage's console; then run again."
    )


def _wrong_region(response: Mapping[str, Any], place: Place) -> SourceError:
    stated = response["Error"].get("Region") or response.get("ResponseMetadata", {}).get(
        "HTTPHeaders", {}
    ).get("x-amz-bucket-region")
    said = re.search(r"expecting '([a-z0-9-]{1,40})'", str(response["Error"].get("Message", "")))
    region = plain(str(stated or (said[1] if said else ""))[:40]) or "REGION"
    return SourceError(
        f"The bucket `{place.bucket}` is in another region than the one that was asked. Nothing "
        f"was written. Name it in the environment, `export AWS_DEFAULT_REGION={region}`, or in "
        "the profile in ~/.aws/config; then run again."
    )


def _refused(place: Place, why: str) -> SourceError:
    if place.anonymous:
        cure = (
            "`download.anonymous: true` sends no credentials; set it to null if the bucket needs "
            "them."
        )
    else:
        cure = "A public bucket needs none: `download.anonymous: true`."
    return SourceError(
        f"{place.server} gave no access to {place.url}: {why}. Nothing was written. Check that the "
        "credentials are of an account that may list and read the bucket. "
        f"{place.protocol.credentials} Never put them into params.yaml: git would keep them. {cure}"
    )


def _words(error: BaseException) -> str:
    *_, inner = chain(error)
    text = f"{type(inner).__name__}: {inner}" if str(inner) else type(inner).__name__
    return plain(re.sub(r"\?[^\s'\"]*", "", without_credentials(text))[:_LONGEST])


#: The errors that need no more than the place, by the class of the library.
_BY_NAME: Mapping[str, Callable[[Place], Exception]] = {
    "ProfileNotFound": _no_profile,
    "FileNotFoundError": lambda _: ChangedError("there is no such object"),
}
