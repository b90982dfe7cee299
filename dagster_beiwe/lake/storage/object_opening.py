"""Which object stores can hold a lake, and how they are opened.

Two runs are kept apart by one thing: an object is created only if none of its name exists. A store or a client that
ignores this condition replaces the object without an error, so only those are opened which are known to honor it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from dagster_beiwe.environment import BEIWE_LAKE
from dagster_beiwe.errors import ConfigurationError


class Package(NamedTuple):
    """The lowest version of a package that a lake can use, and what is wrong with those before it."""

    lowest: str
    before: str = "may replace an object where they must create one only if none has its name"


class Kind(NamedTuple):
    """A kind of store: the extra of this package that reaches it, and the packages that do."""

    extra: str
    packages: Mapping[str, Package]
    options: Mapping[str, Any] = {}


# more requests at once would hold more parts in memory
_S3 = Kind("s3", {"s3fs": Package("2024.12"), "botocore": Package("1.35.20")}, {"max_concurrency": 1})
_GOOGLE = Kind("gcs", {"gcsfs": Package("2024.12")})
_AZURE = Kind("azure", {"adlfs": Package("2026.2", before="cannot delete a single object")})
KINDS = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "az": _AZURE,
}
"""By the protocols of their URLs."""

_DIRECTORY_BUCKETS = ("--x-s3", "--xa-s3")
"""Ends of the names of buckets of S3 Express One Zone, and of access points to them."""

_PLACE = re.compile(
    r"(?:abfss?://[\w$-]+@[\w.-]+"  # a container and its account
    r"|s3a?://arn:[\w:-]+"  # an access point
    r"|\w[\w+.-]*://[^/@:?#]*(?::\d{1,5})?)"  # a bucket, or a host with a port
    r"(?:/[^@:?#]*)?"
)
"""URLs that cannot contain credentials: messages show them whole."""


def open_store(url: str) -> tuple[Any, str, str]:
    """The file system behind a URL, the root's path in it, and the URL's protocol.

    Raises ``ConfigurationError`` by name for a store that cannot hold a lake.
    """
    import fsspec

    if not _PLACE.fullmatch(url):
        raise ConfigurationError(
            "The lake's URL contains credentials, options or a cache, or a character that they need (@ : ? #). It was "
            "not used. Give it as s3://bucket/folder, and credentials in the environment of the store "
            "(docs/object-stores.md)."
        )
    protocol = url.partition("://")[0]
    kind = KINDS.get(protocol)
    if kind is None:
        raise ConfigurationError(
            f"A lake cannot be at {url}: stores whose URLs start with {protocol}:// are not known to create a file "
            "only if none has its name, so two runs could overwrite each other's work. Nothing was opened. Set "
            f"{BEIWE_LAKE} to a folder, or to a URL that starts with s3://, gs:// or abfs://."
        )
    _check_bucket(url)
    try:
        _check_versions(kind)
        files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **kind.options)
    except (ImportError, PackageNotFoundError):
        raise ConfigurationError(
            f"The package that reaches {protocol}:// URLs is not installed. Nothing was opened. Install it: "
            f'`pip install "dagster-beiwe[{kind.extra}]"`.'
        ) from None
    except (ValueError, TypeError, AttributeError, OSError):
        raise ConfigurationError(
            f"The lake cannot be opened at {url}, or not with the store's settings in the environment. Nothing was "
            f"opened. Correct {BEIWE_LAKE}, or the settings (docs/object-stores.md)."
        ) from None
    return files, root.rstrip("/"), protocol


def _check_bucket(url: str) -> None:
    bucket = url.split("/")[2]
    if not bucket:
        raise ConfigurationError(
            f"A lake cannot be at {url}, which names no bucket. Nothing was opened. Set {BEIWE_LAKE} to "
            "s3://bucket/folder, with two slashes before the bucket."
        )
    if bucket.endswith(_DIRECTORY_BUCKETS):
        raise ConfigurationError(
            f"A lake cannot be at {url}: a directory bucket (S3 Express One Zone) has rules of its own for what it "
            f"lists, and is not supported. Nothing was opened. Set {BEIWE_LAKE} to a general purpose bucket."
        )


def _check_versions(kind: Kind) -> None:
    for name, package in kind.packages.items():
        found = version(name)
        if _numbers(found) < _numbers(package.lowest):
            raise ConfigurationError(
                f"{name} {found} is too old for a lake: versions before {package.lowest} {package.before}. Nothing "
                f"was opened. Install {name} {package.lowest} or newer: "
                f'`pip install --upgrade "dagster-beiwe[{kind.extra}]" "{name}>={package.lowest}"`.'
            )


def _numbers(given: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", given)[:3]]
