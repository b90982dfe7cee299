"""What an error of an object store's client means, and what to do about it.

A store answers with a code (``ExpiredToken``), but to a HEAD request with a bare status. Clients have exceptions of
their own if the store was not reached. An error's text is not repeated: it may contain a URL with credentials.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from traceback import walk_tb

from dagster_beiwe.environment import BEIWE_LAKE

_CLIENTS = frozenset({"adlfs", "aiobotocore", "aiohttp", "asyncio", "azure", "botocore", "fsspec", "gcsfs", "google"})
"""Packages whose errors come from the store. Not all of them are ``OSError``, or even of their own kinds."""

_NETWORK = "Check the network and the store's endpoint (docs/object-stores.md)."

_ADVICE = {
    f"Create the bucket, or correct {BEIWE_LAKE}.": "FileNotFoundError NoSuchBucket ContainerNotFound 404",
    "Set this machine's clock: it differs from the store's.": "RequestTimeTooSkewed RequestExpired",
    "Name the region of the bucket, or an endpoint in it (docs/object-stores.md).": (
        "PermanentRedirect TemporaryRedirect Redirect AuthorizationHeaderMalformed IllegalLocation* *Region* 301 307"
    ),
    "Free space in the store, or raise its quota.": "*Quota* *StorageFull* InsufficientStorage 507",
    "The store is overloaded. Wait a while, and run fewer partitions at once.": (
        "SlowDown* ServiceUnavailable ServerBusy OperationAborted ConditionalRequestConflict *Throttl* "
        "TooManyRequests* 429 503"
    ),
    "Check the store's credentials: that they have not expired, and what they allow (docs/object-stores.md).": (
        "*Credential* *Token* *SSO* *Login* *Auth* *Permission* *Denied* *Forbidden* *AccessKey* *Security* "
        "*Signature* AllAccessDisabled AccountProblem NotSignedUp UnrecognizedClient* ProfileNotFound "
        "Refresh* MetadataRetrievalError 400 401 403"
    ),
}
"""What to do, by patterns of codes and exception names. The first that matches counts.

S3 answers a HEAD request whose token has expired with a bare 400.
"""


def is_of_the_store(error: Exception) -> bool:
    """Whether an error comes from the store; else it is a bug."""
    if isinstance(error, (RuntimeError, ValueError)) and error.__traceback__ is not None:
        *_, (frame, _) = walk_tb(error.__traceback__)
        if _package(frame.f_globals["__name__"]) in _CLIENTS:  # adlfs and gcsfs raise these, too
            return True
    return isinstance(error, OSError) or _package(type(error).__module__) in _CLIENTS


def _package(module: str) -> str:
    return module.partition(".")[0]


def code(error: BaseException) -> str:
    """The store's code for an error, such as ``AccessDenied``, or its status; empty if it gave none."""
    for each in (error, error.__cause__):
        answer = getattr(each, "response", None)
        if isinstance(answer, dict):
            return str(answer.get("Error", {}).get("Code", ""))
        for name in ("error_code", "status_code", "code"):  # of Azure's and Google's clients
            given = getattr(each, name, None)
            given = getattr(given, "value", given)  # Azure's codes are of an enumeration
            if isinstance(given, (str, int)):
                return str(given)
    return "Forbidden" if str(error).startswith("Forbidden") else ""  # of gcsfs


def advice(error: BaseException) -> str:
    """What to do about an error."""
    for name in (code(error), *(kind.__name__ for kind in type(error).__mro__)):
        for text, patterns in _ADVICE.items():
            if any(fnmatchcase(name, pattern) for pattern in patterns.split()):
                return text
    return _NETWORK
