"""Which studies a project has: ask its servers, remember their answers, and choose from what is known."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_beiwe.environment import BEIWE_STRICT
from dagster_beiwe.errors import BeiweError, ConfigurationError, ServerError
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.retries import HTTP_IN_COMMANDS
from dagster_beiwe.studies.choice import (
    choose_studies,
    configs_from_environment,
    ids_without_start,
    is_incomplete,
    lacking_assets,
    with_own_keys,
)
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.discovery import (
    AGAIN_SECONDS,
    FRESH_SECONDS,
    LOADING_SECONDS,
    Patience,
    StudyMemory,
    learn_starts,
    refresh_studies,
)
from dagster_beiwe.studies.study import Study

logger = logging.getLogger("dagster_beiwe")


@dataclass(frozen=True, kw_only=True)
class StudyFinder:
    """The studies that a project lists (None: those of the environment), its servers, and what they answered."""

    studies: Sequence[StudyConfig] | None
    deployments: Mapping[str, BeiweResource]
    memories: Mapping[str, StudyMemory]

    @classmethod
    def of(
        cls,
        studies: Sequence[StudyConfig] | None,
        deployments: Mapping[str, BeiweResource],
        *,
        folder: str | Path | None = None,
        state: dict[str, Any] | None = None,
    ) -> StudyFinder:
        """What servers answer is kept in a folder, or in a ``state`` that the caller keeps; see ``StudyMemory``."""
        memories = {
            name: StudyMemory(name, folder=folder, state=state, server=resource.credentials.host())
            for name, resource in deployments.items()
        }
        return cls(studies=studies, deployments=deployments, memories=memories)

    def ask_if_due(self) -> None:
        """Ask each server, unless its last answer is recent. If one does not answer, that is only logged."""
        patience = Patience(LOADING_SECONDS)
        for name, memory in self.memories.items():
            if self._is_due(name):
                self._ask_logged(name, memory, patience)

    def ask(self, *, patience: Patience | None = None) -> list[BeiweError]:
        """Ask each server, without ``patience`` as long as a command does. Returns why some did not answer; each of
        these errors is logged, too."""
        asked = [self._ask_logged(name, memory, patience) for name, memory in self.memories.items()]
        return [error for error in asked if error is not None]

    def found(self, *, strict: bool = False) -> list[Study]:
        """The studies of all deployments, from what is known about them.

        Raises ``ConfigurationError`` for a configuration that cannot be used, and with ``strict`` for a study without
        all of its assets.
        """
        found = self._chosen()
        if strict:
            self._check_strictly(found)
        for study in (each for each in found if each.hidden):
            logger.warning(
                "The server no longer lists study %r: it was hidden or deleted, or the access keys no longer see it. "
                "Its assets stay, with their history, but their runs will fail. To leave it out, list the studies you "
                "want.",
                study.name,
            )
        return found

    def visible(self) -> list[Study]:
        """What the access keys could see when the servers were last asked."""
        return [each for memory in self.memories.values() for each in memory.studies().values() if not each.hidden]

    def remember_keys(self) -> None:
        """Remember the key of each study that another one has too. What is wrong with the configuration waits for
        ``found``."""
        with suppress(ConfigurationError):
            self._chosen()

    def _chosen(self) -> list[Study]:
        chosen = [
            study
            for name, memory in self.memories.items()
            for study in choose_studies(self._configs(name), memory.studies())
        ]
        found = with_own_keys(chosen)
        for before, after in zip(chosen, found, strict=True):
            if before.key != after.key:
                self.memories[after.config.deployment].remember_key(after.id, after.key)
        return found

    def _configs(self, deployment: str) -> list[StudyConfig]:
        known = {name: memory.studies() for name, memory in self.memories.items()}
        every = configs_from_environment(os.environ, known) if self.studies is None else self.studies
        return [config for config in every if config.deployment == deployment]

    def _is_due(self, deployment: str) -> bool:
        memory, configs = self.memories[deployment], self._configs(deployment)
        if not configs:
            return False
        age = memory.age_seconds()
        return age is None or age > (AGAIN_SECONDS if is_incomplete(configs, memory.studies()) else FRESH_SECONDS)

    def _ask_logged(self, deployment: str, memory: StudyMemory, patience: Patience | None) -> BeiweError | None:
        kept = "The last known ones are used." if memory.studies() else "None is known yet."
        if patience and not patience.left_seconds:
            logger.warning("No time was left to ask a server for its studies. %s", kept)
            return None
        try:
            self._ask(deployment, memory, patience)
        except ServerError as error:
            memory.touch()
            logger.warning("The server did not return its studies. %s %s", kept, error)
            return error
        except ConfigurationError as error:
            logger.warning("The server could not be asked for its studies. %s %s", kept, error)
            return error
        return None

    def _ask(self, deployment: str, memory: StudyMemory, patience: Patience | None) -> None:
        policy = patience.policy() if patience else HTTP_IN_COMMANDS
        with (
            self.deployments[deployment].process_config_and_initialize_cm() as live,
            live.get_client(policy=policy) as client,
        ):
            known = refresh_studies(memory, client)
            learn_starts(memory, client, self._without_start(deployment, known), patience=patience)

    def _without_start(self, deployment: str, known: Mapping[str, Study]) -> list[str]:
        with suppress(ConfigurationError):  # ``found`` raises it, too; what the server answered is kept all the same
            return list(ids_without_start(self._configs(deployment), known))
        return []

    def _check_strictly(self, found: Sequence[Study]) -> None:
        configs = [config for name in self.deployments for config in self._configs(name)]
        if problems := lacking_assets(configs, found):
            raise ConfigurationError(
                f"Not every study has its assets: {'; '.join(problems)}. Nothing was built, because `strict` or "
                f"{BEIWE_STRICT} is set. Refresh what is known of the servers, or correct the studies."
            )


def ask_and_remember(deployments: Mapping[str, BeiweResource], *, folder: str | Path | None = None) -> list[Study]:
    """The studies that the access keys can see now. They are remembered in the folder, with their starts.

    Raises ``ServerError`` and ``CredentialsError``.
    """
    finder = StudyFinder.of(None, deployments, folder=folder)
    for name, memory in finder.memories.items():
        with deployments[name].get_client() as client:
            known = refresh_studies(memory, client)
            learn_starts(memory, client, [each.id for each in known.values() if not each.hidden])
    return finder.visible()
