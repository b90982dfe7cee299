"""Pools: how many runs use one server at a time."""

from __future__ import annotations

import dagster as dg


def limit_pool(instance: dg.DagsterInstance, pool: str) -> None:
    """Give a pool the default limit of the instance, unless it has a limit of its own.

    Dagster does so when it queues runs that use the pool, but starts those runs without a limit.
    """
    storage = instance.event_log_storage
    if instance.global_op_concurrency_default_limit is None or not storage.supports_global_concurrency_limits:
        return
    if _is_limited(instance, pool):
        return
    try:
        storage.initialize_concurrency_limit_to_default(pool)
    except Exception:  # each database has its own: another process limited the pool at the same moment
        if not _is_limited(instance, pool):
            raise


def _is_limited(instance: dg.DagsterInstance, pool: str) -> bool:
    return any(each.name == pool for each in instance.event_log_storage.get_pool_limits())
