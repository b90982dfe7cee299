"""Whose a token is. A token is random and lies in its subject's own folder, so that it is gone when the folder is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime

import msgspec

from dagster_beiwe.errors import IntegrityError, WithdrawnError
from dagster_beiwe.ids import is_participant_id
from dagster_beiwe.lake.catalog.authentication import Authenticator, parsed
from dagster_beiwe.lake.catalog.checkpoints import Identity
from dagster_beiwe.lake.catalog.records import AssetPath, Fixed, Number, Token
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.catalog.store import all_readable, clear, create
from dagster_beiwe.lake.layout import LogLayout, Subject, is_token
from dagster_beiwe.lake.storage.base import Store

KIND = "beiwe-token"


class _TokenFile(Fixed, frozen=True, kw_only=True):
    lineage: Token
    asset: AssetPath
    name: str | None
    token: Token
    secret: Token
    epoch: Number
    burnt: str


_decoder: msgspec.json.Decoder[_TokenFile] = msgspec.json.Decoder(_TokenFile)
_encoder = msgspec.json.Encoder()


class Identities:
    """The subjects of one log and their tokens, as far as this process knows them.

    A token's file has the newest withdrawal in its name, the epoch, so that a withdrawal that is stopped and continues
    can never remove the file of somebody who came later under the same name. A token counts if the log has versions of
    it, or if it is of the state's own epoch: the log accepts no other.
    """

    def __init__(
        self,
        store: Store,
        layout: LogLayout,
        authenticator: Authenticator,
        *,
        lineage: str,
        now: Callable[[], datetime],
        newest: Callable[[], State],
    ) -> None:
        self._store, self._layout, self._authenticator = store, layout, authenticator
        self._lineage, self._now, self._newest = lineage, now, newest
        self.known: dict[str, dict[str, Identity]] = {}
        self._proven: set[str] = set()
        """Tokens whose files this process has read, or written."""
        self._tokens: dict[Subject, set[str]] = {}
        self._inherited: dict[Subject, str] = {}

    def learn(self, asset: str, identities: Mapping[str, Identity]) -> None:
        self.known.setdefault(asset, {}).update(identities)
        for token, identity in identities.items():
            self._tokens.setdefault(Subject(identity.name, asset), set()).add(token)

    def forget(self, purged: Iterable[str]) -> None:
        """Forget whose these tokens were."""
        gone = frozenset(purged)
        for asset, identities in self.known.items():
            self.known[asset] = {token: each for token, each in identities.items() if token not in gone}
        self._tokens = {subject: left for subject, tokens in self._tokens.items() if (left := tokens - gone)}

    def token(self, subject: Subject, state: State) -> str | None:
        """A subject's token; None for one that has none, or whose data was withdrawn and who has not come again."""
        return self.assigned(subject, state) or (self._look([subject], state) and self.assigned(subject, state)) or None

    def held(self, subject: Subject, state: State) -> str | None:
        """The token under which a state has versions of a subject; None if it has none, mostly without a request."""
        section = state.section(subject.asset)
        token = self.assigned(subject, state)
        if token is None and self._unknown(subject.asset, state):
            token = self.token(subject, state)
            if token is None:  # then nobody's, unless it is among those that are lost
                self._resolve(subject.asset, state)
        return token if token in section else None

    def give(self, subject: Subject, state: State, proposed: str | None = None) -> str:
        """A subject's token, a new one (``proposed``) if it has none, whose file is there and says so.

        Raises ``WithdrawnError`` while the subject is being withdrawn, ``IntegrityError`` if the file is not the
        one that the log's tokens come from.
        """
        if (token := self.assigned(subject, state)) is not None:
            self._prove(subject, token)
            return token
        doubt = state.purged or self._unknown(subject.asset, state)
        if doubt and self._look([subject], state) & state.purged.keys():
            raise _unfinished(subject)
        path, found = self._layout.home(subject).token(state.epoch), set[str]()
        if self.assigned(subject, state) is None:
            self._resolve(subject.asset, state)  # else it might be somebody's whose token was lost
            if self._write(subject, proposed or os.urandom(16).hex(), self._new_identity(subject, state)):
                return self.assigned(subject, state) or ""
            found = self._look([subject], state)  # another run gave one
        if (token := self.assigned(subject, state)) is None:
            raise _taken(path) if found else _unfinished(subject)
        self._store.sync_folder(path.rpartition("/")[0])
        return token  # whoever made its file may have died before its name was durable

    def _prove(self, subject: Subject, token: str) -> None:
        """Read the file of a token that a checkpoint knows: nothing is committed under a damaged one."""
        if token in self._proven:
            return
        path = self._layout.home(subject).token(self.known[subject.asset][token].epoch)
        if token not in self._read([path], lenient=True):
            if token in self._newest().purged:
                raise _unfinished(subject)
            raise IntegrityError(
                f"{path!r}, which says whose data this is, is missing, or differs from what the log's checkpoint "
                f"knows. Nothing was written for {subject}. It was removed, changed or swapped: run `dagster-beiwe "
                "verify --repair`, which writes it again, and then run the partitions again."
            )

    def inherit(self, subject: Subject, secret: bytes) -> None:
        """Give the subject this secret with its token: what is copied here was keyed with it in another log."""
        self._inherited[subject] = secret.hex()

    def may_be_first(self, subject: Subject, name: str, state: State) -> bool:
        """Whether a file's first version may have its own name: no stopped process can still delete it."""
        token = self.give(subject, state)
        burnt = state.burnt.get(token, (0, ""))[1]
        return name > max(burnt, self.known[subject.asset][token].burnt)

    def owner(self, path: str, data: bytes) -> tuple[Subject, str]:
        """Whose a token is, as its file tells, and the token. Raises ``IntegrityError`` for one that is not proven."""
        document = self._document(path, data)
        self._learn(document)
        return Subject(document.name, document.asset), document.token

    def restore(self, subject: Subject, token: str, state: State) -> None:
        """Write the file of a token that is in use again, where there is none any more.

        If its secret is lost, it gets a new one: the counts fingerprints in records then no longer agree.
        """
        identity = self.known.get(subject.asset, {}).get(token) or self._new_identity(subject, state)
        path = self._layout.home(subject).token(identity.epoch)
        try:
            self._store.read(path)
        except IntegrityError:  # what lies there is no file, and holds no token
            clear(self._store, path)
        except FileNotFoundError:
            pass
        if not self._write(subject, token, identity):
            raise _taken(path)

    def secret(self, subject: Subject, state: State) -> bytes | None:
        """The key of everything that records say about a subject: nobody can compare it without the subject's
        folder."""
        token = self.token(subject, state)
        return bytes.fromhex(self.known[subject.asset][token].secret) if token else None

    def subjects(self, asset: str, tokens: Iterable[str], state: State) -> list[Subject]:
        """The owners of these tokens, without those whose folder is gone or whose token is damaged."""
        tokens = list(tokens)
        if not self.known.get(asset, {}).keys() >= set(tokens):
            if asset:
                folder = self._layout.tables(asset)
                self._read([file.path for file in self._store.scan(folder) if is_token(file.path)], lenient=True)
                self._look([Subject(None, asset)], state, lenient=True)
            else:
                subjects = [Subject(name) for name in self._store.list(self._layout.folder) if is_participant_id(name)]
                unknown = [each for each in subjects if self.assigned(each, state) not in tokens]
                self._look(unknown, state, lenient=True)
        known = self.known.get(asset, {})
        return [Subject(known[token].name, asset) for token in tokens if token in known]

    def resolve(self, state: State, *assets: str) -> None:
        """Find the owners of all tokens of a state. Raises ``IntegrityError`` if one cannot be found."""
        for asset in assets or list(state.sections):
            self._resolve(asset, state)

    def _resolve(self, asset: str, state: State) -> None:
        if not self._unknown(asset, state):
            return
        self.subjects(asset, state.section(asset), state)
        lacking = self._unknown(asset, state)
        if lacking and (lacking := lacking - self._newest().purged.keys()):  # or it was withdrawn since
            raise IntegrityError(
                f"{len(lacking)} of the subjects in the log at {self._layout.log!r} have no folder with their "
                "token. Their data was not read. Folders were removed: restore them from a backup."
            )

    def _unknown(self, asset: str, state: State) -> set[str]:
        known = self.known.get(asset, {})
        return {token for token in state.section(asset) if token not in known}

    def _new_identity(self, subject: Subject, state: State) -> Identity:
        burnt = ""
        if state.epoch and not self._store.locks:  # the clock may be behind that of whoever withdrew somebody
            burnt = max(self._now(), state.withdrawn_at).isoformat()
        secret = self._inherited.get(subject) or os.urandom(16).hex()
        return Identity(subject.name, secret, state.epoch, burnt)

    def _write(self, subject: Subject, token: str, identity: Identity) -> bool:
        """Write a token's file; False if another lies in its place."""
        document = _TokenFile(
            lineage=self._lineage,
            asset=subject.asset,
            name=subject.name,
            token=token,
            secret=identity.secret,
            epoch=identity.epoch,
            burnt=identity.burnt,
        )
        data = self._authenticator.sign(KIND, _encoder.encode(document) + b"\n")
        path = self._layout.home(subject).token(identity.epoch)
        if not create(self._store, path, data, staging=self._layout.staging):
            return False
        self._learn(document)
        return True

    def assigned(self, subject: Subject, state: State) -> str | None:
        """A subject's token as far as this process knows: no file is read."""
        section, known = state.section(subject.asset), self.known.get(subject.asset, {})
        tokens = self._tokens.get(subject, set()) - state.purged.keys()
        in_use = [token for token in tokens if token in section]
        return next(iter(in_use or [token for token in tokens if known[token].epoch == state.epoch]), None)

    def _look(self, subjects: Iterable[Subject], state: State, *, lenient: bool = False) -> set[str]:
        """Read the token files of subjects; the tokens found."""
        epochs = sorted({0, *state.purged.values()})
        paths = [self._layout.home(subject).token(epoch) for subject in subjects for epoch in epochs]
        return self._read(paths, lenient=lenient)

    def _read(self, paths: Sequence[str], *, lenient: bool) -> set[str]:
        """The tokens in these files; ``lenient`` leaves out damaged ones, which are the matter of one subject only."""
        found = set()
        contents = all_readable(self._store, paths) if lenient else self._store.read_all(paths)
        for path, data in zip(paths, contents, strict=True):
            if data is not None:
                with suppress(IntegrityError) if lenient else nullcontext():
                    document = self._document(path, data)
                    self._learn(document)
                    found.add(document.token)
        return found

    def _learn(self, document: _TokenFile) -> None:
        identity = Identity(document.name, document.secret, document.epoch, document.burnt)
        self._proven.add(document.token)
        self.learn(document.asset, {document.token: identity})

    def _document(self, path: str, data: bytes) -> _TokenFile:
        document = parsed(_decoder, self._authenticator.body(KIND, data, name=path), name=path)
        home = self._layout.home(Subject(document.name, document.asset))
        if document.lineage != self._lineage or home.token(document.epoch) != path:
            raise _taken(path)
        return document


def _unfinished(subject: Subject) -> WithdrawnError:
    return WithdrawnError(
        f"The withdrawal of {subject} is not finished. Nothing was written. Let it end, or run `dagster-beiwe purge` "
        "again."
    )


def _taken(path: str) -> IntegrityError:
    return IntegrityError(
        f"{path!r} is the token of another subject or of another log. It was not used. Files were swapped (restore "
        "them from a backup), or two tables have names that lead to the same place (rename one)."
    )
