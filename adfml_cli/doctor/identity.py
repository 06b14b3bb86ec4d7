"""The Azure identity of the process: a token for each service that is signed in to with it; and clocks."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from adfml_cli.doctor.findings import Finding, Notes, join_names
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    from adfml_cli.doctor.declared import Declared

CHECK, CLOCK = "identity", "clock"
_NOTES, _CLOCK = Notes(CHECK), Notes(CLOCK)
_SHORT_SECONDS = 300
_SKEW_WARNING, _SKEW_FAILED = 30.0, 240.0
"""Azure takes tokens that are up to five minutes off; half a minute is more than any network is slow."""
_GET_SECONDS = 6.0


@dataclass(frozen=True)
class Server:
    """A server that is used.

    Attributes:
        scope: of the tokens it takes, where the identity signs in to it; None: a key does.
    """

    name: str
    address: str
    scope: str | None


def list_servers(declared: Declared) -> list[Server]:
    """The services that are declared and set, with their addresses; what cannot be read is said by their own check."""
    from resources.errors import ResourceError

    found: list[Server] = []
    for build in (_databricks, _openai, _language, _lake, _vault):
        try:
            found += build(declared)
        except ResourceError:
            continue
    return found


def _databricks(declared: Declared) -> Iterator[Server]:
    from resources.identity import DATABRICKS_SCOPE
    from resources.settings import DATABRICKS_HOST, DATABRICKS_TOKEN

    if declared.databricks:
        keyed = DATABRICKS_TOKEN.read_given() or DATABRICKS_TOKEN.read_named_secret()
        yield Server("Databricks", DATABRICKS_HOST.read(), None if keyed else DATABRICKS_SCOPE)


def _openai(declared: Declared) -> Iterator[Server]:
    from resources.openai_client import SCOPE
    from resources.settings import OPENAI_ENDPOINT, OPENAI_KEY

    if declared.openai:
        keyed = OPENAI_KEY.read_given() or OPENAI_KEY.read_named_secret()
        named = all(engine.secret for _, engine in declared.openai)
        yield Server("Azure OpenAI", OPENAI_ENDPOINT.read(), None if keyed or named else SCOPE)


def _language(declared: Declared) -> Iterator[Server]:
    from resources.language_session import SCOPE
    from resources.settings import LANGUAGE_ENDPOINT, LANGUAGE_KEY

    if declared.language:
        keyed = LANGUAGE_KEY.read_given() or LANGUAGE_KEY.read_named_secret()
        named = all(engine.secret for _, engine in declared.language)
        yield Server("Azure AI Language", LANGUAGE_ENDPOINT.read(), None if keyed or named else SCOPE)


def _lake(_declared: Declared) -> Iterator[Server]:
    from resources.lake_addresses import AccountAddress, read_address
    from resources.settings import LAKE_KEY, LAKE_SAS

    address = read_address()
    if isinstance(address, AccountAddress):
        keyed = any(one.read_given() or one.read_named_secret() for one in (LAKE_SAS, LAKE_KEY))
        yield Server("the lake", address.endpoint, None if keyed else "https://storage.azure.com/.default")


def _vault(declared: Declared) -> Iterator[Server]:
    from adfml_cli.doctor.secrets import list_named_secrets
    from resources.key_vault import read_vault_url

    if list_named_secrets(declared):
        yield Server("Key Vault", read_vault_url(), "https://vault.azure.net/.default")


def build_identity_probes(declared: Declared) -> Iterator[Probe]:
    """A probe for each audience that tokens are needed for."""
    from resources.azure_ml_online import SCOPE as AZURE_ML_SCOPE
    from resources.settings import AZURE_ML_KEY

    wanted: dict[str, list[str]] = {}
    for server in list_servers(declared):
        if server.scope:
            wanted.setdefault(server.scope, []).append(server.name)
    keyless = [one for _, one in declared.online_endpoints if not one.secret]
    if declared.batch_endpoints or (keyless and not (AZURE_ML_KEY.read_given() or AZURE_ML_KEY.read_named_secret())):
        wanted.setdefault(AZURE_ML_SCOPE, []).append("Azure ML")
    if not wanted:
        yield Probe(CHECK, "identity", lambda _: iter([_NOTES.unused("identity", "Nothing is signed in to with it.")]))
    for scope, names in wanted.items():
        subject = f"token for {join_names(names)}"
        yield Probe(CHECK, subject, lambda step, s=scope, n=subject: check_token(s, n, step))  # type: ignore[misc]


def check_token(scope: str, subject: str, step: Step) -> Iterator[Finding]:
    """Whose token is given out, and for how long. The token itself is never shown."""
    from azure.core.exceptions import AzureError
    from azure.identity import DefaultAzureCredential

    step(f"signing in for {scope}")
    with DefaultAzureCredential() as credential:
        try:
            token = credential.get_token(scope)
        except AzureError as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            yield _NOTES.failed(
                subject,
                f"No way of signing in gives a token for {scope}: {first}",
                "Give this machine a managed identity (AZURE_CLIENT_ID names a user-assigned one), or run az login.",
            )
            return
    claims = read_claims(token.token)
    who = next((claims[name] for name in ("upn", "appid", "oid", "sub") if claims.get(name)), "an identity")
    left = token.expires_on - time.time()
    issued = claims.get("iat")
    if isinstance(issued, int | float) and issued - time.time() > _SKEW_WARNING:
        ahead = issued - time.time()
        found = f"Token of {who} is from the future, by {ahead:.0f} s: this machine's clock is behind."
        yield _NOTES.failed(subject, found, "Set the clock (NTP): services refuse tokens by it.")
    elif left < _SHORT_SECONDS:
        found = f"Token of {who} ends in {left:.0f} s."
        yield _NOTES.warning(subject, found, "Check the clock, and what renews the identity's tokens on this machine.")
    else:
        yield _NOTES.ok(subject, f"Given to {who}, valid for {left / 3600:.1f} h.")


def read_claims(token: str) -> Mapping[str, Any]:
    """What a JSON web token says of itself, unchecked; nothing where it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def build_clock_probes(declared: Declared) -> Iterator[Probe]:
    """A probe for each server whose clock can be seen."""
    servers = list_servers(declared)
    if not servers:
        yield Probe(CLOCK, "clock", lambda _: iter([_CLOCK.unused("clock", "No service has a clock to compare with.")]))
    for address, server in {server.address: server for server in servers}.items():
        yield Probe(CLOCK, server.name, lambda step, a=address, s=server: check_clock(s.name, a, step))  # type: ignore[misc]


def check_clock(name: str, address: str, step: Step) -> Iterator[Finding]:
    """How far this machine's clock is from a server's, by the Date of an answer; any answer has one."""
    import httpx

    from resources.settings import CA_BUNDLE

    step(f"asking {address} for the time")
    bundle = CA_BUNDLE.read() if name == "Key Vault" else ""
    before = time.time()
    try:
        answer = httpx.get(address, timeout=_GET_SECONDS, verify=_build_context(bundle), follow_redirects=False)
    except (httpx.HTTPError, OSError):
        return  # whether it can be reached is another check's affair
    middle = (before + time.time()) / 2
    try:
        skew = middle - parsedate_to_datetime(answer.headers["date"]).replace(tzinfo=UTC).timestamp()
    except (KeyError, ValueError):
        return
    yield judge_skew(_CLOCK, name, skew)


def _build_context(bundle: str) -> Any:
    import ssl

    return ssl.create_default_context(cafile=bundle) if bundle else True


def judge_skew(notes: Notes, name: str, skew: float) -> Finding:
    """Whether two clocks are near enough: `skew` in seconds, above 0 where this machine's is ahead."""
    found = f"This machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the one of {name}."
    advice = "Set the clock by NTP: tokens and signatures are refused, and partitions and deadlines are off by it."
    if abs(skew) > _SKEW_FAILED:
        return notes.failed(name, found, advice)
    if abs(skew) > _SKEW_WARNING:
        return notes.warning(name, found, advice)
    return notes.ok(name, f"The clocks agree ({datetime.now(UTC):%Y-%m-%d %H:%M} UTC).")
