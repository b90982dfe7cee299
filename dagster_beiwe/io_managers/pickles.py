"""Refuse to hand participants' data to steps whose results Dagster would pickle, unencrypted, on a disk.

That is Dagster's default for any result without an IO manager, and a lab's project keeps its defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import dagster as dg

from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.io_managers.partition_keys import step_of
from dagster_beiwe.runs.dagster_private import StepExecutionContext

NO_PARTICIPANTS_METADATA_KEY = "beiwe/no_participants"
"""Metadata of an asset that holds nothing about participants: it may be stored unencrypted."""


def refuse_pickles(context: dg.InputContext) -> None:
    """Raise ``ConfigurationError`` before an input is read whose step's outputs would be pickled."""
    step = step_of(context)
    if step is not None and (pickled := sorted(_pickled_outputs(step))):
        raise ConfigurationError(
            f"{', '.join(pickled)} reads participants' data, and Dagster would store its result as an unencrypted "
            'pickle. Nothing was read. Set `io_manager_key="beiwe_table_io_manager"`, or annotate it `-> None` or '
            "`-> dg.MaterializeResult` if it returns nothing to store. `build_beiwe_definitions("
            "default_io_manager=True)` does the former for everything that names no IO manager. A result that is not "
            f'about any participant may be pickled with the metadata {{"{NO_PARTICIPANTS_METADATA_KEY}": True}}.'
        )


def pickles_below(instance: dg.DagsterInstance, prefix: Sequence[str]) -> Iterator[str]:
    """Files that Dagster's default IO manager stored for assets whose keys begin with a prefix, as paths below
    Dagster's storage."""
    storage = Path(instance.storage_directory())
    yield from (path.relative_to(storage).as_posix() for path in storage.joinpath(*prefix).rglob("*") if path.is_file())


def _pickled_outputs(step: StepExecutionContext) -> Iterator[str]:
    """Names of the step's assets, or of its op, whose results would be pickled."""
    for output in step.op_def.output_defs:
        layer = step.job_def.asset_layer
        key = layer.get_asset_key_for_node_output(step.node_handle, output.name)
        if output.dagster_type.is_nothing or _is_check(step, output.name) or _returns_no_value(step.op_def):
            continue
        if key is not None and layer.get(key).metadata.get(NO_PARTICIPANTS_METADATA_KEY):
            continue
        managers = step.scoped_resources_builder.build(required_resource_keys={output.io_manager_key})
        # By name: Dagster has one for each kind of storage, in packages that may not be installed.
        if any("Pickle" in kind.__name__ for kind in type(getattr(managers, output.io_manager_key)).__mro__):
            yield "/".join(key.path) if key else step.op_def.name


def _returns_no_value(op: dg.OpDefinition) -> bool:
    """Whether the function is annotated to return a ``MaterializeResult``, which has no value to store."""
    annotation = op.get_output_annotation() if op.is_from_decorator() else None
    return dg.MaterializeResult in (annotation, *get_args(annotation))


def _is_check(step: StepExecutionContext, output_name: str) -> bool:
    """Results of checks are events and are never stored."""
    return step.step.step_output_named(output_name).properties.asset_check_key is not None
