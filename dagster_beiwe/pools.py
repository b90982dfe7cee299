"""Pools: how many runs ask one server at a time."""

from __future__ import annotations

import dagster as dg


def limit_pool(instance: dg.DagsterInstance, pool: str) -> None:
    """Give a pool the default limit of the instance, if it has none of its own.

    Dagster does so when runs that use the pool are queued, but starts those without a limit.
    """
    storage = instance.event_log_storage
    if instance.global_op_concurrency_default_limit is None or not storage.supports_global_concurrency_limits:
        return
    if pool not in {each.name for each in storage.get_pool_limits()}:
        storage.initialize_concurrency_limit_to_default(pool)
