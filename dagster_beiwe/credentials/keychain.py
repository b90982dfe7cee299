"""The system's keychain: macOS Keychain, Secret Service (GNOME, KDE), Windows Credential Locker; by ``keyring``.

It is opened only if it is named. Backends that keep secrets readable, or ask for a password of their own, are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswerError
from importlib.metadata import distribution
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from dagster_beiwe.environment import BEIWE_KEYCHAIN
from dagster_beiwe.errors import CredentialsError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

ANSWER_SECONDS = 60
"""How long somebody has to open the keychain, and the longest that a process waits where nobody can."""

_RECOMMENDED = 1
"""The priority, in words of ``keyring``, from which on a backend is fit for use."""

_Answer = TypeVar("_Answer")


def read_keychain(service: str, name: str) -> str | None:
    """What the keychain holds under a service and a name, or None. Raises ``CredentialsError``."""
    backends = _backends()
    found = (_ask(lambda backend=each: backend.get_password(service, name)) for each in backends)  # type: ignore[misc]
    return next((value for value in found if value), None)


def write_keychain(service: str, name: str, value: str) -> None:
    """Keep a secret in the keychain, in the place of one of this name. Raises ``CredentialsError``."""
    first = _backends()[0]
    _ask(lambda: first.set_password(service, name, value))


def _backends() -> list[KeyringBackend]:
    try:
        # The script keyring.py that cryptease installs is found before the package where a program of the same folder
        # runs.
        sys.path.insert(0, str(distribution("keyring").locate_file("")))
        try:
            import keyring
        finally:
            del sys.path[0]
    except ImportError:
        raise CredentialsError(
            "The package keyring, by which the system's keychain is opened, is not installed. Nothing was read or "
            f'written. Run `pip install "dagster-beiwe[keychain]"`, or unset {BEIWE_KEYCHAIN}.'
        ) from None
    chosen = _ask(keyring.get_keyring)
    found: list[KeyringBackend] = [
        each for each in getattr(chosen, "backends", [chosen]) if each.priority >= _RECOMMENDED
    ]
    if not found:
        raise CredentialsError(
            "This system has no keychain that can be used without a password of its own and keeps secrets encrypted. "
            "Nothing was read or written. Run `python -m keyring --list-backends` to see what there is, or keep the "
            f"secrets elsewhere and unset {BEIWE_KEYCHAIN}."
        )
    return found


def _ask(question: Callable[[], _Answer]) -> _Answer:
    """The keychain's answer. Whatever a backend raises may quote what it was asked to keep, so only its type is
    shown."""
    answer: Future[_Answer] = Future()

    def work() -> None:
        try:
            answer.set_result(question())
        except Exception as error:  # noqa: BLE001 - each backend raises what its own library does
            answer.set_exception(error)

    Thread(target=work, name="keychain", daemon=True).start()
    try:
        return answer.result(timeout=ANSWER_SECONDS)
    except NoAnswerError:
        reason = f"it did not answer in {ANSWER_SECONDS} seconds; it may wait for somebody to open it"
    except Exception as error:  # noqa: BLE001 - the same
        reason = type(error).__name__
    raise CredentialsError(
        f"The system's keychain cannot be used: {reason}. Nothing was read or written. Open it, or keep the secrets "
        f"elsewhere and unset {BEIWE_KEYCHAIN}."
    )
