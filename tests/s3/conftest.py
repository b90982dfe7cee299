"""The fixtures of a lake in an object store."""

from s3_fixtures import any_url, find_store, running_stores, s3, s3_server, server, url, world

__all__ = ["any_url", "find_store", "running_stores", "s3", "s3_server", "server", "url", "world"]
