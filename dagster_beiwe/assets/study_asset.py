"""The decorator that makes an asset of a study, and the table that such an asset returns."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.run_log import in_run_log
from dagster_beiwe.assets.translator import DEFAULT_TRANSLATOR, BeiweTranslator, BeiweTranslatorData
from dagster_beiwe.runs.beta import beta_features
from dagster_beiwe.runs.dagster_private import COLUMN_SCHEMA, KIND_TAG_PREFIX
from dagster_beiwe.runs.failures import RETRY_POLICY, with_retries
from dagster_beiwe.studies.config import table_io_manager_key
from dagster_beiwe.studies.study import Study

AssetFunction = Callable[..., Any]
Execute = Callable[[dg.AssetExecutionContext, BeiweTranslatorData, Callable[[], Iterator[Any]]], Iterable[Any]]
"""Runs the step of an asset, whose work its last argument does."""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class AssetOptions:
    """What all assets of a study share: the pool of runs that download, the retries of steps, the translator, and what
    a lab does before and after each step."""

    pool: str | None = None
    retry_policy: dg.RetryPolicy = RETRY_POLICY
    translator: BeiweTranslator = DEFAULT_TRANSLATOR
    execute: Execute | None = None

    def retried(
        self, work: Callable[[], _T], log: logging.Logger, *, unfinished: Callable[[], Iterable[str]] = tuple
    ) -> _T:
        """What a step's ``work`` returns, with retries as in ``with_retries``. What this package logs meanwhile is also
        in the run's ``log``."""
        with in_run_log(log):
            return with_retries(work, policy=self.retry_policy, log=log, unfinished=unfinished)


DEFAULT_OPTIONS = AssetOptions()


def study_asset(
    study: Study, name: str, options: AssetOptions, *, deps: Iterable[dg.AssetKey | dg.AssetDep] = (), **more: Any
) -> Callable[[AssetFunction], dg.AssetsDefinition]:
    """As ``dg.asset``, for an asset of a study: what the translator says about it, the study in its metadata, and the
    study's deployment among its resources. By default, it is a table."""
    return asset_of(
        BeiweTranslatorData(name=name, study=study),
        options,
        metadata=study.to_metadata(),
        deps=deps,
        required_resource_keys={study.config.deployment},
        **{"io_manager_key": table_io_manager_key(study.config.deployment), **more},
    )


def asset_of(
    data: BeiweTranslatorData,
    options: AssetOptions,
    *,
    metadata: Mapping[str, Any] | None = None,
    deps: Iterable[dg.AssetKey | dg.AssetDep] = (),
    **more: Any,
) -> Callable[[AssetFunction], dg.AssetsDefinition]:
    """As ``dg.asset``, for what the translator says about an asset; ``metadata`` takes precedence over the
    translator's."""
    spec = options.translator.get_asset_spec(data)

    def decorate(function: AssetFunction) -> dg.AssetsDefinition:
        with beta_features():
            return dg.asset(
                _executed(function, data, options.execute) if options.execute else function,
                key=spec.key,
                group_name=spec.group_name,
                owners=list(spec.owners),
                kinds=spec.kinds,
                tags={name: value for name, value in spec.tags.items() if not name.startswith(KIND_TAG_PREFIX)},
                description=spec.description,
                metadata={**spec.metadata, **(metadata or {})},
                deps=[*deps, *spec.deps],
                code_version=spec.code_version,
                freshness_policy=spec.freshness_policy,
                **{**more, "automation_condition": spec.automation_condition or more.get("automation_condition")},
            )

    return decorate


def _executed(function: AssetFunction, data: BeiweTranslatorData, execute: Execute) -> AssetFunction:
    """The asset's function, run by ``execute``."""

    @functools.wraps(function)
    def run(context: dg.AssetExecutionContext) -> Iterator[Any]:
        def materialize() -> Iterator[Any]:
            result = function(context)
            yield from result if inspect.isgenerator(result) else (result,)

        yield from execute(context, data, materialize)

    return run


def table_output(
    frame: pd.DataFrame, metadata: Mapping[str, Any], *, version: str, columns: Mapping[str, str] | None = None
) -> dg.Output[Any]:
    """A table with its data version, which changes with its content only. ``columns`` says what each of its columns
    holds, if the asset's definition cannot know them all."""
    schema = [dg.TableColumn(name, description=text) for name, text in (columns or {}).items()]
    described = {COLUMN_SCHEMA: dg.TableSchema(schema)} if schema else {}
    with beta_features():
        return dg.Output(frame, metadata={**metadata, **described}, data_version=dg.DataVersion(version))
