"""The page of an MLflow run for people, at the address that a Databricks workspace has it at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from local_cloud.model_registry import open_registry
from local_cloud.run_page import build_document, build_facts
from local_cloud.state import StateFolder

if TYPE_CHECKING:
    from mlflow.entities import Run


def build_routes(state: StateFolder) -> list[Route]:
    """The route of a run's page; it asks for no token, as it answers on loopback only."""

    async def page(request: Request) -> Response:
        run_id, experiment_id = request.path_params["run_id"], request.path_params["experiment_id"]
        found = await run_in_threadpool(_find_run, state, run_id, experiment_id)
        if found is None:
            body = "<h1>There is no such run in this experiment.</h1>"
            return HTMLResponse(build_document("No such run", body), status_code=404)
        return HTMLResponse(render(*found))

    return [Route("/ml/experiments/{experiment_id}/runs/{run_id}", page, methods=["GET"])]


def render(run: Run, experiment: str) -> str:
    """The page: what was trained, its parameters and its metrics."""
    facts = [
        ("Experiment", experiment),
        ("Run id", run.info.run_id),
        ("Status", run.info.status),
        ("Started", _time(run.info.start_time)),
        ("Ended", _time(run.info.end_time)),
    ]
    metrics = [(name, f"{value:.6g}") for name, value in sorted(run.data.metrics.items())]
    tags = [(name, value) for name, value in sorted(run.data.tags.items()) if not name.startswith("mlflow.")]
    sections = [("Metrics", metrics), ("Parameters", sorted(run.data.params.items())), ("Tags", tags)]
    tables = [f"<h2>{title}</h2>{build_facts(rows) if rows else '<p>None.</p>'}" for title, rows in sections]
    body = "\n".join(["<h1>MLflow run</h1>", build_facts(facts), *tables])
    return build_document(f"{experiment}, run {run.info.run_id}", body)


def _find_run(state: StateFolder, run_id: str, experiment_id: str) -> tuple[Run, str] | None:
    registry = open_registry(state)
    if registry is None:
        return None
    from mlflow.exceptions import MlflowException

    try:
        run = registry.get_run(run_id)
    except MlflowException:
        return None
    if run.info.experiment_id != experiment_id:
        return None
    return run, registry.get_experiment(experiment_id).name


def _time(millis: int | None) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if millis else "not yet"
