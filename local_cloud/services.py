"""What a service of the local cloud is made of, and what it is given: `server` mounts them all on one address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
        fail: Ends the server because a service cannot go on.
    """

    state: StateFolder
    database: Database
    issuer: TokenIssuer
    faults: FaultBox
    url: str
    fail: Callable[[], None]


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Service:
    """A service ready to be mounted.

    Attributes:
        routes: Its routes; paths of different services do not overlap.
        environment: What a client needs in its environment to use it.
        start: Called once the server runs, in its event loop; must return at once.
        stop: Called when the server stops, in a thread; may take seconds.
    """

    routes: list[BaseRoute]
    environment: Mapping[str, str] = field(default_factory=dict)
    start: Callable[[], None] = _nothing
    stop: Callable[[], None] = _nothing
