"""Azure ML: the declared batch and online endpoints and their deployments, and how one signs in to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from adfml_cli.doctor.findings import Finding, Notes
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    from adfml_assets.components.batch_endpoint import BatchEndpoint
    from adfml_assets.components.online_endpoint import OnlineEndpoint
    from adfml_cli.doctor.declared import Declared
    from resources.azure_ml_batch import AzureMlBatch
    from resources.azure_ml_workspace import EndpointFacts, EndpointKind

BATCH, ONLINE = "azure_ml_batch", "azure_ml_online"
_GOOD = "succeeded"


def build_batch_probes(declared: Declared) -> Iterator[Probe]:
    """A probe for each batch endpoint and deployment that is declared."""
    notes = Notes(BATCH)
    engines = {(one.endpoint, one.deployment): (what, one) for what, one in reversed(declared.batch_endpoints)}
    if not engines:
        yield Probe(BATCH, "batch endpoints", lambda _: iter([notes.unused("batch endpoints", "None is declared.")]))
    for what, one in engines.values():
        subject = f"endpoint {one.endpoint}"
        yield Probe(BATCH, subject, lambda step, what=what, one=one: check_batch(what, one, step))  # type: ignore[misc]


def build_online_probes(declared: Declared) -> Iterator[Probe]:
    """A probe for each online endpoint and deployment that is declared."""
    notes = Notes(ONLINE)
    engines = {
        (one.endpoint or one.scoring_uri, one.deployment): (what, one)
        for what, one in reversed(declared.online_endpoints)
    }
    if not engines:
        yield Probe(ONLINE, "online endpoints", lambda _: iter([notes.unused("online endpoints", "None is declared.")]))
    for what, one in engines.values():
        subject = f"endpoint {one.endpoint or one.scoring_uri}"
        yield Probe(ONLINE, subject, lambda step, what=what, one=one: check_online(what, one, step))  # type: ignore[misc]


def check_batch(what: str, engine: BatchEndpoint, step: Step) -> Iterator[Finding]:
    """A batch endpoint: by the workspace where it is set, else by its own address."""
    from resources.azure_ml_batch import AzureMlBatch, check_scoring_uri
    from resources.settings import AZURE_ML_WORKSPACE

    notes, subject = Notes(BATCH), f"endpoint {engine.endpoint}"
    client = AzureMlBatch(request_timeout_seconds=step.request_seconds, retry_seconds=4)
    if engine.scoring_uri:
        address = check_scoring_uri(engine.scoring_uri)
        step(f"listing jobs at {address}")
        yield _list_jobs(client, notes, subject, address, step)
        if not AZURE_ML_WORKSPACE.read_given():
            yield notes.warning(
                subject,
                f"{AZURE_ML_WORKSPACE.name} is not set: jobs of the {what} cannot be cancelled, nor deployments seen.",
                f"Set it, for example to {AZURE_ML_WORKSPACE.example}.",
            )
            return
    yield from _check_deployments(notes, subject, what, engine.endpoint, "batch", engine.deployment, step)


def _list_jobs(client: AzureMlBatch, notes: Notes, subject: str, address: str, step: Step) -> Finding:
    from resources.azure_ml_calls import NoSuchThing

    try:
        client.calls.get(address, time.monotonic() + step.request_seconds)
    except NoSuchThing as error:
        return notes.warning(
            subject, f"{address} answers, and gives no list of jobs: {error.reason}.", "Check the engine's scoring_uri."
        )
    return notes.ok(subject, f"{address} takes this identity.")


def check_online(what: str, engine: OnlineEndpoint, step: Step) -> Iterator[Finding]:
    """An online endpoint: how one signs in, and its deployments where it is declared by name. Nothing is scored."""
    from resources.azure_ml_online import AzureMlOnline

    notes, subject = Notes(ONLINE), f"endpoint {engine.endpoint or engine.scoring_uri}"
    target = engine.build_target()
    step(f"signing in for {subject}")
    how = AzureMlOnline().describe_sign_in(target)
    yield notes.ok(subject, f"Is called by {how}.")
    if engine.endpoint is not None:
        yield from _check_deployments(notes, subject, what, engine.endpoint, "online", engine.deployment, step)
        return
    step(f"calling {engine.scoring_uri}")
    yield _call(notes, subject, str(engine.scoring_uri), step)


def _call(notes: Notes, subject: str, address: str, step: Step) -> Finding:
    """Whether anything answers there; asked without key and without rows, so that nothing is scored."""
    import httpx

    try:
        status = httpx.get(address, timeout=step.request_seconds).status_code
    except httpx.HTTPError as error:
        return notes.failed(
            subject, f"{address} does not answer: {type(error).__name__} {error}.", "Check the engine's scoring_uri."
        )
    if status == 404:
        return notes.failed(subject, f"There is nothing at {address} (404).", "Check the engine's scoring_uri.")
    if status >= 500:
        return notes.failed(subject, f"{address} answers {status}.", "Check that the endpoint's deployment is healthy.")
    return notes.ok(subject, f"{address} answers.")


def _check_deployments(
    notes: Notes, subject: str, what: str, endpoint: str, kind: EndpointKind, deployment: str | None, step: Step
) -> Iterator[Finding]:
    from resources.azure_ml_workspace import AzureMlWorkspace

    step(f"asking the workspace for {kind} endpoint {endpoint}")
    workspace = AzureMlWorkspace(timeout_seconds=step.request_seconds, retry_seconds=0)
    facts = workspace.read_endpoint(endpoint, kind, time.monotonic() + step.request_seconds)
    yield judge_endpoint(notes, subject, what, facts, deployment)


def judge_endpoint(notes: Notes, subject: str, what: str, facts: EndpointFacts, deployment: str | None) -> Finding:
    """Whether an endpoint can do what is declared."""
    from resources.errors import NotFound

    if facts.state.lower() != _GOOD:
        return notes.failed(subject, f"Its provisioning is {facts.state}.", "See its page in Azure ML's studio.")
    if not facts.deployments:
        return notes.failed(subject, "Has no deployment.", "Deploy one: workloads/azure_ml has its YAML.")
    wanted = [deployment] if deployment else list(facts.traffic) or ([facts.default] if facts.default else [])
    if not wanted:
        return notes.failed(
            subject, "No deployment is named, and none is the default or has traffic.", f"Name one in the {what}."
        )
    for name in wanted:
        if name not in facts.deployments:
            missing = NotFound("deployment", str(name), f"the {subject}", facts.deployments)
            return notes.failed(subject, str(missing), f"Correct `engine.deployment` in the {what}, or deploy it.")
        if facts.deployments[str(name)].lower() != _GOOD:
            state = facts.deployments[str(name)]
            return notes.failed(subject, f"Deployment {name} is {state}.", "See its page in Azure ML's studio.")
    return notes.ok(subject, f"Is there, with deployment {', '.join(map(str, wanted))}.")
