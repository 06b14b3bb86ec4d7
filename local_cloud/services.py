"""What a service of the local cloud is made of, and what it is given: `server` mounts them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.routing import BaseRoute

from local_cloud.faults import FaultBox
from local_cloud.state import Database, StateFolder
from local_cloud.tokens import TokenIssuer


@dataclass(frozen=True)
class Cloud:
    """What all services share.

    Attributes:
        state: The state folder.
        database: The database in it; a service makes its tables with ``Database.create``.
        issuer: Signs and checks access tokens.
        faults: The faults in force.
        url: Where the server answers, ``http://127.0.0.1:PORT``.
        secure_url: Where it answers over TLS, ``https://127.0.0.1:PORT``.
        authority: The PEM file of the authority that signed the certificate of ``secure_url``.
        fail: Ends the server because a service cannot go on.
    """

    state: StateFolder
    database: Database
    issuer: TokenIssuer
    faults: FaultBox
    url: str
    secure_url: str
    authority: Path
    fail: Callable[[], None]


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Service:
    """A service ready to be mounted.

    Attributes:
        routes: Its routes; paths of different services do not overlap.
        secure_routes: Those it has over TLS only, on the address ``Cloud.secure_url``.
        environment: What a client needs in its environment to use it.
        start: Called once the server runs, in its event loop; must return at once.
        stop: Called when the server stops, in a thread; may take seconds.
    """

    routes: list[BaseRoute]
    environment: Mapping[str, str] = field(default_factory=dict)
    start: Callable[[], None] = _nothing
    stop: Callable[[], None] = _nothing
    secure_routes: list[BaseRoute] = field(default_factory=list)
