"""The fixtures of a lake in an object store."""

from s3_fixtures import find_store, real_store, running_stores, s3, s3_server, server, storage, url, world

__all__ = ["find_store", "real_store", "running_stores", "s3", "s3_server", "server", "storage", "url", "world"]
