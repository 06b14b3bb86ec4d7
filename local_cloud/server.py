"""The server: mounts every service on 127.0.0.1, plain and over TLS, and keeps address.json true."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_cloud import (
    azure_ml_batch_api,
    azure_ml_online_api,
    databricks_api,
    faults,
    identity_api,
    key_vault_api,
    language_api,
    openai_api,
)
from local_cloud.bundle import JobSpec, load_bundle
from local_cloud.connections import FaultMiddleware, OpenProtocol
from local_cloud.processes import own_identity
from local_cloud.services import Cloud, Service
from local_cloud.state import Database, StateFolder, write_atomically
from local_cloud.tls import SecureRoute, ensure_certificates
from local_cloud.tokens import TokenIssuer

HOST = "127.0.0.1"
_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """uvicorn, on a second address with TLS too, telling when connections are accepted."""

    def __init__(
        self, config: uvicorn.Config, secure: socket.socket, context: ssl.SSLContext, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._secure = secure
        self._context = context
        self._on_ready = on_ready
        self.failed = False

    def stop(self) -> None:
        """Stop serving."""
        self.should_exit = True

    def fail(self) -> None:
        """Stop because a service cannot go on."""
        self.failed = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # The same application and the same connections, so that one shutdown ends both.
            self.servers.append(
                await asyncio.get_running_loop().create_server(
                    lambda: OpenProtocol(self.config, self.server_state, self.lifespan.state),
                    sock=self._secure,
                    ssl=self._context,
                    ssl_shutdown_timeout=0.2,  # a client that keeps its connection would hold up the stop
                    backlog=self.config.backlog,
                )
            )
            self._on_ready()


def serve(state_folder: Path, *, port: int = 0, bundle: Path, parent: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then stop what runs: the exit code, 0 unless a service failed.

    Args:
        state_folder: Where everything is kept; created where it is missing.
        port: The port of 127.0.0.1; 0: the one this state folder had before, else any free one.
        bundle: The Databricks asset bundle whose jobs are served.
        parent: Stop when the process with this id is not the parent any more; None: never.

    Raises:
        BundleError: the bundle cannot be run.
        StateInUseError: another local cloud serves this state folder.
    """
    jobs = load_bundle(bundle)
    state = StateFolder.at(state_folder)
    state.create()
    with state.locked(), contextlib.closing(Database(state.database)) as database:
        state.address.unlink(missing_ok=True)
        header = database.setting("identity_header", lambda: secrets.token_urlsafe(32))
        listener = _listen(database, "port", port)
        secure = _listen(database, "secure_port")
        try:
            url = f"http://{HOST}:{listener.getsockname()[1]}"
            server = _build(state, database, jobs, url, secure, header, parent)
            # uvicorn obeys these signals and then raises them again for whoever handled them before: without a
            # handler of our own that would end the process by the signal, as if it had not stopped cleanly.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: server.stop())
            _log.info("Serving %s on %s", state.root, url)
            server.run(sockets=[listener])
        finally:
            listener.close()
            secure.close()
            state.address.unlink(missing_ok=True)
    return 1 if server.failed else 0


_SERVICES: tuple[Callable[[Cloud], Service], ...] = (
    azure_ml_batch_api.build_service,
    azure_ml_online_api.build_service,
    key_vault_api.build_service,
    language_api.build_service,
    openai_api.build_service,
)
"""Every service but Databricks, which also takes a bundle. A service is a module `<name>_api` with `build_service`."""


def _build(
    state: StateFolder,
    database: Database,
    jobs: Mapping[int, JobSpec],
    url: str,
    secure: socket.socket,
    header: str,
    parent: int | None,
) -> _Server:
    certificates = ensure_certificates(state, HOST)
    secure_url = f"https://{HOST}:{secure.getsockname()[1]}"
    issuer = TokenIssuer(database.setting("token_secret", lambda: secrets.token_urlsafe(48)))
    box = faults.FaultBox()
    cloud = Cloud(state, database, issuer, box, url, secure_url, certificates.authority, fail=lambda: server.fail())
    services = [databricks_api.build_service(cloud, jobs), *(build(cloud) for build in _SERVICES)]

    def announce() -> None:
        me = own_identity()
        environment = {"IDENTITY_ENDPOINT": url + identity_api.PATH, "IDENTITY_HEADER": header}
        for service in services:
            environment |= service.environment
        address = {"url": url, "pid": me.pid, "created": me.created, "environment": environment}
        write_atomically(state.address, json.dumps(address))

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        for service in services:
            service.start()
        async with anyio.create_task_group() as watchers:
            if parent is not None:
                watchers.start_soon(_watch_parent, parent, server)
            yield
            watchers.cancel_scope.cancel()
        async with anyio.create_task_group() as stopping:
            for service in services:
                stopping.start_soon(anyio.to_thread.run_sync, service.stop)

    async def health(_request: Request) -> Response:
        return JSONResponse({"pid": os.getpid(), "state": str(state.root)})

    app = Starlette(
        routes=[
            *identity_api.build_routes(issuer, header),
            *(route for service in services for route in service.routes),
            *(SecureRoute(route) for service in services for route in service.secure_routes),
            *faults.build_routes(box),
            Route("/_local/health", health, methods=["GET"]),
        ],
        middleware=[
            # A web page must not reach this server under a name of its own that resolves to 127.0.0.1.
            Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
            Middleware(FaultMiddleware, box=box),
        ],
        lifespan=lifespan,
    )
    config = uvicorn.Config(
        app,
        http=OpenProtocol,
        loop="asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        date_header=False,  # see FaultMiddleware
        timeout_graceful_shutdown=2,
    )
    server = _Server(config, secure, certificates.build_context(), announce)
    return server


async def _watch_parent(parent: int, server: _Server) -> None:
    while os.getppid() == parent:
        await anyio.sleep(0.2)
    _log.info("The process that started the local cloud is gone.")
    server.stop()


def _listen(database: Database, setting: str, port: int = 0) -> socket.socket:
    """A listening socket; the port is kept, so that clients of a killed cloud find the next one where it was."""
    kept = int(database.setting(setting, lambda: "0"))
    wanted = [port] if port else [kept, 0] if kept else [0]
    for number in wanted:
        # asyncio switches Nagle's algorithm off only where the protocol is named: without it 40 ms an answer.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, number))
        except OSError:
            listener.close()
            if number == wanted[-1]:
                raise
            continue
        database.keep_setting(setting, str(listener.getsockname()[1]))
        return listener
    raise AssertionError("unreachable: the last port is bound or raises")
