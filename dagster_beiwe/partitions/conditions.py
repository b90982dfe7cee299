"""When tables follow what they are made from: a lab's own, stream tables, and Forest's."""

from __future__ import annotations

from typing import Any

import dagster as dg


def on_new_content(
    *, ignoring: dg.AssetSelection | None = None, needing: dg.AssetSelection | None = None
) -> dg.AutomationCondition[Any]:
    """Request each partition that was never made, and each whose input has new content. Inputs in ``ignoring`` don't
    count. Nothing is requested before its input is there: any partition of any input, or, of those in ``needing``, each
    partition that exists. What was made once follows its input even if a part of that is gone.

    Dagster's ``eager()`` goes by materializations and ignores old windows; a refresh records each window anew, whether
    or not anything changed. This goes by data versions, in every window. It waits until no run fills the input, and
    does not repeat what failed until the input changes again::

        @dg.asset(automation_condition=on_new_content(), ins={"raw_data": dg.AssetIn(study.asset_key("raw_data"))}, ...)
        def daily_gps(raw_data: BeiwePartitions) -> pd.DataFrame: ...
    """
    condition = dg.AutomationCondition
    never_made = condition.missing().newly_true().since(condition.newly_requested() | condition.newly_updated())
    new_content = condition.data_version_changed() & ~condition.executed_with_root_target()
    any_changed = condition.any_deps_match(new_content)
    any_made = condition.any_deps_match(~condition.missing())
    if ignoring is not None:
        any_changed, any_made = any_changed.ignore(ignoring), any_made.ignore(ignoring)
    there: dg.AutomationCondition[Any] = any_made
    if needing is not None:
        # Dagster maps whole inputs: it cannot tell a partition's own window from those beside it.
        there = ~condition.any_deps_match(condition.missing()).allow(needing) | ~condition.missing()
    # Only a request answers a change, and only one before it: a run may end that had read the older content.
    changed = any_changed.since(condition.newly_requested() & ~any_changed)
    return ((never_made | changed) & there & ~condition.any_deps_in_progress() & ~condition.in_progress()).with_label(
        "on_new_content"
    )
