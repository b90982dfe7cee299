"""As much of Kubernetes as a run launcher needs: jobs are created, looked at and deleted; each is a container."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import kubernetes_validate
import yaml
from typing_extensions import Self

from benchmarks.containers.podman import Podman

_JOBS = "/apis/batch/v1/namespaces/default/jobs"


class JobsStub:
    """A server on loopback. ``secrets`` are those of the cluster, by name.

    A job that the published schema does not allow, or that names a secret which is not there, is refused.
    """

    def __init__(self, podman: Podman, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self._podman, self._secrets = podman, secrets
        self.containers: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: _Handler(self, *given))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def write_config(self, path: Path) -> None:
        """What a client reads to find the cluster."""
        cluster = {"server": f"http://127.0.0.1:{self._server.server_address[1]}"}
        document = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "here", "user": {}}],
        }
        path.write_text(yaml.safe_dump(document))

    def create(self, job: dict[str, Any]) -> dict[str, Any]:
        """Raises ``ValueError`` or ``LookupError`` if the job can't be."""
        job = {"apiVersion": "batch/v1", "kind": "Job", **_without_nulls(job)}
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        command = [*container.get("command", ()), *container.get("args", ())]
        name = job["metadata"]["name"]
        self.containers[name] = self._podman.run_node(command, self._environment(container))
        return self.job(name)

    def job(self, name: str) -> dict[str, Any]:
        """Raises ``KeyError``."""
        code = self._podman.exit_code(self.containers[name])
        outcome = {None: "active", 0: "succeeded"}.get(code, "failed")
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "status": {outcome: 1}}

    def _environment(self, container: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            found |= self._secrets[source["secretRef"]["name"]]
        for variable in container.get("env", ()):
            if "valueFrom" in variable:
                key = variable["valueFrom"]["secretKeyRef"]
                found[variable["name"]] = self._secrets[key["name"]][key["key"]]
            else:
                found[variable["name"]] = variable.get("value", "")
        return found


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, stub: JobsStub, *given: Any) -> None:
        self._stub = stub
        super().__init__(*given)

    def do_POST(self) -> None:
        assert self.path.partition("?")[0] == _JOBS
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self._answer(201, self._stub.create(job))
        except (ValueError, LookupError, kubernetes_validate.ValidationError) as error:
            self._answer(422, {"kind": "Status", "status": "Failure", "message": repr(error)})

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].removeprefix(f"{_JOBS}/").removesuffix("/status")
        try:
            self._answer(200, self._stub.job(name))
        except KeyError:
            self._answer(404, {"kind": "Status", "status": "Failure", "reason": "NotFound"})

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def _answer(self, status: int, document: Mapping[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _without_nulls(value: Any) -> Any:
    """What a field that is null means to Kubernetes: it is not there."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
