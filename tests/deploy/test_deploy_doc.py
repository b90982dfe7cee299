"""The settings in docs/deploy.md are ones that Dagster accepts, and say what the text says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance import InstanceRef
from dagster._serdes import ConfigurableClass

from benchmarks.containers.settings import ROOT, documented_settings
from dagster_beiwe import StudyConfig

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def test_everything_lies_in_postgres(instance: dg.DagsterInstance) -> None:
    """Runs, events and schedules, with the driver that the text names."""
    for storage in (instance.run_storage, instance.event_log_storage, instance.schedule_storage):
        assert type(storage).__module__.startswith("dagster_postgres.")
        assert storage._engine.url.drivername == "postgresql+psycopg2"  # type: ignore[union-attr]


def test_two_runs_at_once_use_a_server(instance: dg.DagsterInstance) -> None:
    """Every pool has the limit, and a run that waits for it holds nothing that its death would leave taken."""
    pools = instance.get_concurrency_config().pool_config
    assert pools.default_pool_limit == 2
    assert str(pools.pool_granularity) == "PoolGranularity.RUN"
    assert instance.run_monitoring_cancel_timeout_seconds == 60


def test_one_machine_has_the_same_limit() -> None:
    """The settings that the project ships are those of the page, where they are about the server."""
    shipped = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    assert shipped["concurrency"]["pools"] == yaml.safe_load(documented_settings())["concurrency"]["pools"]
    assert shipped["run_monitoring"]["cancel_timeout_seconds"] == 60


def test_nothing_leaves_the_lab(instance: dg.DagsterInstance) -> None:
    """No telemetry, and no file with what runs print."""
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    assert type(instance.compute_log_manager).__name__ == "NoOpComputeLogManager"


def test_dead_runs_are_found_and_retried(instance: dg.DagsterInstance) -> None:
    """By Dagster's own monitoring."""
    assert instance.run_monitoring_enabled
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 1


@pytest.mark.parametrize("engine", ["Docker", "Celery", "Kubernetes"])
def test_a_launcher_takes_its_settings(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks for containers are accepted by the launchers that they name, and hold no value of a secret."""
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, "memory://")
    text = documented_settings(engine)
    (tmp_path / "dagster.yaml").write_text(text)
    launcher = InstanceRef.from_dir(str(tmp_path)).run_launcher_data
    assert launcher is not None
    settings: dict[str, Any] = yaml.safe_load(launcher.config_yaml)
    kind = _class_of(launcher.module_name, launcher.class_name)
    checked = process_config(resolve_to_config_type(kind.config_type()), settings)
    assert checked.success, checked.errors
    assert not [name for name in settings.get("env_vars", []) if "=" in name]


def test_containers_get_every_variable() -> None:
    """What the settings read from the environment is passed on to the runs' containers."""
    settings = yaml.safe_load(documented_settings("Docker"))
    postgres = settings["storage"]["postgres"]["postgres_db"]
    read = {value["env"] for value in postgres.values() if isinstance(value, dict)}
    assert read <= set(settings["run_launcher"]["config"]["env_vars"])


def test_the_chart_finds_the_secrets() -> None:
    """Under the names with which the page creates them."""
    (created,) = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    values = yaml.safe_load(PAGE.partition("# values.yaml\n")[2].partition("```")[0])
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    named = [*(each["name"] for each in deployment["envSecrets"]), values["global"]["postgresqlSecretName"]]
    assert re.findall(r"secret generic (\S+)", created) == named


def test_a_study_has_its_whole_identity() -> None:
    """Nothing of it has to be asked for or remembered."""
    (shown,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    study = eval(shown, {"StudyConfig": StudyConfig})
    assert all((len(study.study) == 24, study.key, study.name, study.start))


def _class_of(module: str, name: str) -> type[ConfigurableClass]:
    found: type[ConfigurableClass] = getattr(pytest.importorskip(module), name)
    assert issubclass(found, ConfigurableClass)
    return found
