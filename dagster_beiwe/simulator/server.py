"""The simulated Beiwe server: a world, a generation of the protocol, and misbehaviors, behind real HTTP."""

from __future__ import annotations

import random
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from http.server import ThreadingHTTPServer
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dagster_beiwe.simulator import control as controls
from dagster_beiwe.simulator.answers import Answer, RefusedError, method_not_allowed, not_a_route, refused, server_error
from dagster_beiwe.simulator.control_page import ControlPage
from dagster_beiwe.simulator.endpoints import ROUTES, Call
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.misbehavior import Delivery, Misbehavior, Mischief, Name, Switch, apply
from dagster_beiwe.simulator.people import Researcher
from dagster_beiwe.simulator.profiles import CURRENT, Profile
from dagster_beiwe.simulator.website import Website
from dagster_beiwe.simulator.wire import Handler
from dagster_beiwe.simulator.world import World

if TYPE_CHECKING:
    from typing_extensions import Self

_SECRET_FIELDS = frozenset({"access_key", "secret_key", "password"})


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """One request. ``form`` has no credentials, byte counts are of bodies, and ``status`` is 0 if the connection was
    reset."""

    method: str
    route: str
    form: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...]
    status: int
    bytes_received: int
    bytes_sent: int


class SimulatedServer:
    """A Beiwe server on the loopback interface, for tests, demos and benchmarks.

    Use it as a context manager, or call ``start()`` and ``stop()``. ``port`` 0 takes any free one. ``profile`` is
    the server's generation (see ``PROFILE_NAMES``; any date will do). ``auth_seconds`` is the cost of checking a
    secret key (0.15 on a real server), ``file_seconds`` that of each file in an archive (0.0035 there); files are read
    ahead of the client. ``extra_latency_seconds`` is added to every response. ``order_seed`` decides the order of
    members and participants, which differs from request to request. ``behind_nginx`` hides aborted streams: they end as
    if complete. ``max_form_bytes`` is a proxy's limit (413 beyond; nginx accepts 1 MB). ``control`` opens ``POST
    /_simulator/<action>`` and the page ``/_simulator/``; ``on_change`` is then called with the action and its arguments
    as JSON whenever one changed something.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        port: int = 0,
        profile: str = CURRENT,
        auth_seconds: float = 0.0,
        file_seconds: float = 0.0,
        extra_latency_seconds: float = 0.0,
        order_seed: int = 0,
        behind_nginx: bool = False,
        max_form_bytes: int | None = None,
        control: bool = False,
        on_change: Callable[[str, dict[str, Any]], None] = lambda _action, _arguments: None,
    ) -> None:
        self.world = World.build() if world is None else world
        self.profile = Profile.named(profile)
        self.auth_seconds, self.file_seconds = auth_seconds, file_seconds
        self.extra_latency_seconds = extra_latency_seconds
        self.behind_nginx = behind_nginx
        self.max_form_bytes = max_form_bytes
        self.control = control
        self.on_change = on_change
        self.requests: list[RequestRecord] = []
        self.peak_downloads = 0
        self.stopping = threading.Event()
        self._port = port
        self._downloads = 0
        self._lock = threading.Lock()
        self._rng = random.Random(order_seed)
        self._mischief = Mischief()
        self._website = Website(world=self.world)
        self._page = ControlPage(world=self.world, path=controls.PREFIX, act=self.act, active=self.misbehaviors)
        self._http: _HttpServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"SimulatedServer({self.url if self._http else 'stopped'}, profile {self.profile.day})"

    def start(self) -> Self:
        """Listen and respond in the background. Returns the server itself."""
        if self._http is None:
            self.stopping.clear()
            self._http = _HttpServer(self, self._port)
            self._port = self._http.server_address[1]
            self._thread = threading.Thread(
                target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, name="simulated-beiwe", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Close every connection at once and stop listening. A later ``start()`` takes the same port again."""
        http, thread, self._http, self._thread = self._http, self._thread, None, None
        if http is not None and thread is not None:
            self.stopping.set()
            http.shutdown()
            thread.join()
            http.close_connections()
            http.server_close()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def control_url(self) -> str:
        """The address of the control page."""
        return f"{self.url}{controls.PREFIX}"

    @property
    def researcher(self) -> Researcher:
        """The researcher with access to every study."""
        return self.world.researchers[0]

    @property
    def access_key(self) -> str:
        return self.researcher.access_key

    @property
    def secret_key(self) -> str:
        return self.researcher.secret_key

    @property
    def username(self) -> str:
        return self.researcher.username

    @property
    def password(self) -> str:
        return self.researcher.password

    def misbehave(self, what: Name | Misbehavior, **options: Any) -> Switch:
        """Switch on a misbehavior, by name and fields of ``Misbehavior``, until the end of a ``with`` block."""
        if not isinstance(what, Misbehavior):
            what = Misbehavior(what, **options)
        return self._mischief.add(what)

    def behave(self) -> None:
        """Switch every misbehavior off."""
        self._mischief.clear()

    def misbehaviors(self) -> list[Misbehavior]:
        """The misbehaviors that are on."""
        return self._mischief.active()

    def forget_requests(self) -> None:
        """Empty the request log and the peak of simultaneous downloads."""
        with self._lock:
            self.requests.clear()
            self.peak_downloads = self._downloads

    def control_answer(self, request: Request, body: bytes) -> Answer | None:
        """The response to a request that shows or changes the server itself; None for any other."""
        if not (self.control and f"{request.route}/".startswith(controls.PREFIX)):
            return None
        if not controls.is_own(request, port=self._port):
            return Answer(status=403)
        if f"{request.route}/" == controls.PREFIX:
            return self._page.answer(request)
        return controls.answer(self.act, request, body)

    def act(self, action: str, arguments: dict[str, Any]) -> Any:
        """Run an action of ``/_simulator/``, with arguments as JSON.

        Raises ``LookupError``, ``TypeError``, or ``ValueError`` for a mistake; then nothing happened.
        """
        own: controls.Actions = {
            "misbehave": self._misbehave_by_name,
            "behave": self.behave,
            "requests": lambda: [asdict(record) for record in list(self.requests)],
            "forget_requests": self.forget_requests,
        }
        result = controls.run(self.world, own, action, arguments)
        if action not in controls.READING:
            self.on_change(action, arguments)
        return result

    def _misbehave_by_name(self, name: Name, **options: Any) -> dict[str, str]:
        self.misbehave(name, **options)
        return {"on": name}

    def respond(self, request: Request) -> tuple[Answer, Delivery]:
        """The response to a request, and how to send it."""
        costs: list[float] = []
        answer = self._answer(request, lambda: costs.append(self.auth_seconds))
        answer, delivery = apply(answer, self._mischief.take(request, answer.archive))
        wait = sum(costs) + self.extra_latency_seconds + delivery.delay_seconds
        if wait:
            self.stopping.wait(wait)
        if self.file_seconds and answer.archive:
            answer = replace(answer, archive=replace(answer.archive, read_file=self._reading_ahead()))
        return answer, delivery

    def _answer(self, request: Request, slow_key_check: Callable[[], None]) -> Answer:
        route = ROUTES.get(request.route)
        if route is None or route.since > self.profile.day:
            return self._website.answer(request, self.profile) or not_a_route()
        if request.method not in route.methods:
            return method_not_allowed(route.methods)
        with self._lock:
            rng = random.Random(self._rng.random())
        call = Call(world=self.world, profile=self.profile, request=request, rng=rng, slow_key_check=slow_key_check)
        try:
            with self.world.lock:
                return route.endpoint(call)
        except RefusedError as refusal:
            return refused(refusal.status)
        except Exception:  # noqa: BLE001  # a server answers 500 whatever went wrong inside, and shows it in its log
            traceback.print_exc()
            return server_error()

    def _reading_ahead(self) -> Callable[[], None]:
        """A wait for each file of an archive: storage delivers at its own pace, whether or not the client keeps up."""
        ready = monotonic()

        def wait() -> None:
            nonlocal ready
            ready += self.file_seconds
            if (seconds := ready - monotonic()) > 0:
                self.stopping.wait(seconds)

        return wait

    def record(self, request: Request, *, status: int, bytes_received: int, bytes_sent: int) -> None:
        form = tuple(pair for pair in request.form if pair[0] not in _SECRET_FIELDS)
        query = tuple(pair for pair in request.query if pair[0] not in _SECRET_FIELDS)
        record = RequestRecord(
            method=request.method,
            route=request.route,
            form=form,
            query=query,
            status=status,
            bytes_received=bytes_received,
            bytes_sent=bytes_sent,
        )
        with self._lock:
            self.requests.append(record)

    def download_begins(self) -> None:
        with self._lock:
            self._downloads += 1
            self.peak_downloads = max(self.peak_downloads, self._downloads)

    def download_ends(self) -> None:
        with self._lock:
            self._downloads -= 1


class _HttpServer(ThreadingHTTPServer):
    """Tracks its connections, so that stopping does not wait for clients that keep theirs alive."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, simulated: SimulatedServer, port: int) -> None:
        self.simulated = simulated
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _handler(simulated))

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._serve, args=(request, client_address), daemon=True)
        with self._connections_lock:
            self._connections[request] = thread
        thread.start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client went away, which is its right
        finally:
            self.shutdown_request(request)
            with self._connections_lock:
                self._connections.pop(request, None)

    def close_connections(self) -> None:
        with self._connections_lock:
            connections = dict(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections.values():
            thread.join(timeout=5)


def _handler(simulated: SimulatedServer) -> Callable[..., Handler]:
    def make(*args: Any, **kwargs: Any) -> Handler:
        return Handler(simulated, *args, **kwargs)

    return make
