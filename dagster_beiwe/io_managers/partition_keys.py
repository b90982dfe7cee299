"""Which partitions an output or an input stands for.

Usually those that Dagster's contexts name. But a backfill that was launched from a job leaves tags of the range's first
key on each of its runs (seen in Dagster 1.13.27): contexts then name that one key, although the run stands for the
whole range.
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from dagster_beiwe.partitions.run_keys import range_keys
from dagster_beiwe.runs.dagster_private import RANGE_END_TAG, RANGE_START_TAG, StepExecutionContext


def output_partition_keys(context: dg.OutputContext) -> list[str]:
    """The partitions that an asset's output stands for; none for an asset without partitions."""
    if not context.has_asset_partitions:
        return []
    return _keys_in_tags(step_of(context)) or list(context.asset_partition_keys)


def input_partition_keys(context: dg.InputContext) -> list[str]:
    """The partitions of the upstream asset that the run's partitions map to, sorted, as Dagster's order is random."""
    step = step_of(context)
    own = _keys_in_tags(step)
    keys = _mapped_keys(context, step, own) if step and own else context.asset_partition_keys
    return sorted(str(key) for key in keys)


def warn_of_partitioned_check(context: dg.InputContext) -> None:
    """Warn if a partitioned check gets several partitions at once: Dagster records its result for none of them."""
    step = step_of(context)
    definition = step.assets_def if step else None
    if step is None or definition is None or definition.keys or definition.partitions_def is None:
        return
    first, last = (step.dagster_run.tags.get(tag) for tag in (RANGE_START_TAG, RANGE_END_TAG))
    if first != last:
        context.log.warning(
            "The check %s runs once for all partitions of this run (%s to %s), and Dagster records one result that "
            "names none of them. To get a result for each partition, run the check in runs of one partition.",
            ", ".join(sorted(key.name for key in definition.check_keys)),
            first,
            last,
        )


def step_of(context: dg.InputContext | dg.OutputContext) -> StepExecutionContext | None:
    """The step that is running; None if a value is loaded outside of a run."""
    try:
        return context.step_context
    except dg.DagsterInvariantViolationError:
        return None


def _keys_in_tags(step: StepExecutionContext | None) -> list[str]:
    """The partitions in the run's tags if Dagster's contexts name others; else none."""
    own = step.assets_def.partitions_def if step and step.assets_def else None
    if step is None or not isinstance(own, dg.MultiPartitionsDefinition):
        return []
    keys = range_keys(step.dagster_run.tags, own, step.instance)
    named = step.partition_key_range if keys else None
    if not keys or named is None or (str(named.start), str(named.end)) == (str(keys[0]), str(keys[-1])):
        return []
    return keys


def _mapped_keys(context: dg.InputContext, step: StepExecutionContext, own: Sequence[str]) -> Sequence[str]:
    """What Dagster maps the step's own partitions to."""
    definition = step.assets_def
    assert definition is not None
    assert definition.partitions_def is not None
    graph = step.job_def.asset_layer.asset_graph
    nodes: list[dg.AssetKey | dg.AssetCheckKey] = [*definition.keys, *definition.check_keys]
    child = next(key for key in nodes if context.asset_key in graph.get(key).parent_entity_keys)
    mapping = graph.get_partition_mapping(child, context.asset_key)
    mapped = mapping.get_upstream_mapped_partitions_result_for_partitions(
        definition.partitions_def.subset_with_partition_keys(own),
        definition.partitions_def,
        context.asset_partitions_def,
        dynamic_partitions_store=step.instance,
    )
    return list(mapped.partitions_subset.get_partition_keys())
