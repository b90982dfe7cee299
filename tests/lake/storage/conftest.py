"""The fixtures of a lake in an object store."""

from s3_fixtures import s3, s3_server, storage, url

__all__ = ["s3", "s3_server", "storage", "url"]
