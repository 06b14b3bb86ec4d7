"""Databricks: who is signed in, whether each declared job is there and may be run, and the models' catalog."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from adfml_cli.doctor.findings import Finding, Notes
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    from adfml_cli.doctor.declared import Declared
    from resources.databricks import Databricks
    from resources.databricks_access import WorkspaceUser

CHECK = "databricks"
_NOTES = Notes(CHECK)


def build_probes(declared: Declared) -> Iterator[Probe]:
    """One for the sign-in, one for each job, one for each model of Unity Catalog."""
    from adfml_assets.components import TrainedModel
    from resources.unity_catalog import is_unity_name

    jobs: dict[str, str] = {}
    for what, engine in declared.databricks:
        jobs.setdefault(engine.job, what)
    if not jobs:
        yield Probe(CHECK, "Databricks", lambda _: iter([_NOTES.unused("Databricks", "Nothing declared runs there.")]))
        return
    yield Probe(CHECK, "sign-in", check_sign_in)
    for job, what in jobs.items():
        yield Probe(CHECK, f"job {job}", lambda step, job=job, what=what: check_job(job, what, step))  # type: ignore[misc]
    models = {one.registered_model for _, one in declared.of(TrainedModel) if is_unity_name(one.registered_model)}
    for name in sorted(models):
        yield Probe(CHECK, name, lambda step, name=name: check_model(name, step))  # type: ignore[misc]


def _open_client(step: Step) -> Databricks:
    from resources.databricks import Databricks

    return Databricks(request_timeout_seconds=step.request_seconds, retry_seconds=4)


def _sign_in(client: Databricks) -> WorkspaceUser | None:
    """Who is signed in; None: the workspace does not take the sign-in, which its own probe tells."""
    from resources.databricks_access import SIGN_IN, read_user
    from resources.errors import Refused

    try:
        return read_user(client)
    except Refused as error:
        if error.service != SIGN_IN:
            raise
        return None


def _build_unknown(subject: str) -> Finding:
    return _NOTES.failed(subject, "Was not looked for: the workspace does not take the sign-in.", "See sign-in.")


def check_sign_in(step: Step) -> Iterator[Finding]:
    """Who the workspace takes this process for."""
    from resources.databricks_access import read_user
    from resources.settings import DATABRICKS_HOST, DATABRICKS_TOKEN

    host = DATABRICKS_HOST.read()
    step(f"signing in to {host}")
    by = "a personal access token" if DATABRICKS_TOKEN.read() else "the Azure identity"
    user = read_user(_open_client(step))
    yield _NOTES.ok("sign-in", f"{host}, signed in to as {user.name} by {by}.")


def check_job(job: str, what: str, step: Step) -> Iterator[Finding]:
    """Whether a job is there, and may be run."""
    from resources.databricks_access import RUNNING_LEVELS, read_levels

    subject = f"job {job}"
    step(f"looking for job {job}, which {what} runs")
    client = _open_client(step)
    user = _sign_in(client)
    if user is None:
        yield _build_unknown(subject)
        return
    job_id = client.find_job_id(job)
    step(f"reading who may run job {job}")
    levels = read_levels(client, job_id, user)
    if levels is None:
        yield _NOTES.warning(
            subject,
            f"Is there (id {job_id}); whether {user.name} may run it cannot be told: it may not read permissions.",
            "The first run tells. CAN MANAGE RUN on the job is enough.",
        )
    elif levels & RUNNING_LEVELS or "admins" in user.groups:
        yield _NOTES.ok(subject, f"Is there (id {job_id}) and may be run by {user.name}.")
    else:
        has = ", ".join(sorted(levels)) or "no permission"
        yield _NOTES.failed(
            subject,
            f"Is there (id {job_id}), and {user.name} has {has} on it: it may not be run.",
            "Give it CAN MANAGE RUN on the job (permissions in workloads/databricks.yml, and deploy the bundle again).",
        )


def check_model(name: str, step: Step) -> Iterator[Finding]:
    """Whether Unity Catalog has the model that the training registers."""
    from resources.databricks_access import find_registered_model

    step(f"asking Unity Catalog for {name}")
    client = _open_client(step)
    if _sign_in(client) is None:
        yield _build_unknown(name)
        return
    if find_registered_model(client, name):
        yield _NOTES.ok(name, "Is registered in Unity Catalog, and may be seen.")
        return
    catalog, schema, _ = name.split(".")
    yield _NOTES.warning(
        name,
        "Is not in Unity Catalog, or may not be seen.",
        f"Nothing before the first training, which registers it; afterwards check that the identity may use {catalog} "
        f"and {catalog}.{schema}, and may make models there.",
    )
