"""The page of a run for people: what a link to a run opens in a browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from local_cloud.databricks_store import AttemptRecord, RunRecord, RunStore
from local_cloud.logs import WorkloadLog

_SHOWN_LOG_CHARACTERS = 200_000
_COLOURS = {"SUCCESS": "good", "FAILED": "bad", "TIMEDOUT": "bad", "CANCELED": "idle"}
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --idle: #7d8590; --busy: #0969da; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: .2rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
p.state { margin: 0; } .pill { color: #fff; border-radius: 1rem; padding: .15rem .7rem; font-weight: 600; }
.good { background: var(--good); } .bad { background: var(--bad); } .idle { background: var(--idle); }
.busy { background: var(--busy); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .8rem .3rem 0;
border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; } th { font-weight: 600; }
pre { border: 1px solid var(--line); border-radius: .4rem; padding: .8rem; overflow-x: auto; white-space: pre-wrap; }
footer { margin-top: 2rem; opacity: .7; font-size: .85rem; }
"""


def build_routes(store: RunStore, read_log: Callable[[int], WorkloadLog]) -> list[Route]:
    """The route of the run page; it asks for no token, as it answers on loopback only.

    Args:
        store: The runs.
        read_log: The log of an attempt.
    """

    async def page(request: Request) -> Response:
        run = await run_in_threadpool(store.run, int(request.path_params["run_id"]))
        if run is None or run.job.job_id != request.path_params["job_id"]:
            return HTMLResponse(
                build_document("No such run", "<h1>There is no such run here.</h1>", False), status_code=404
            )
        attempts = await run_in_threadpool(store.attempts, run.run_id)
        logs = [await run_in_threadpool(read_log, attempt.attempt_id) for attempt in attempts]
        return HTMLResponse(render(run, attempts, logs))

    return [Route("/jobs/{job_id:int}/runs/{run_id:int}", page, methods=["GET"])]


def render(run: RunRecord, attempts: list[AttemptRecord], logs: list[WorkloadLog]) -> str:
    """The page: state, times, parameters, and every attempt with its log; it reloads itself while the run is active."""
    facts = [
        ("Run id", str(run.run_id)),
        ("Job id", str(run.job.job_id)),
        ("Started by", run.creator),
        ("Accepted", _time(run.accepted_at)),
        ("Left the queue", _time(run.dequeued_at)),
        ("Ended", _time(run.ended_at)),
    ]
    if run.ending is not None:
        facts.append(("Termination", f"{run.ending.code} ({run.ending.type})"))
    message = run.ending.message if run.ending else ""
    parts = [
        f"<h1>{escape(run.job.name)}</h1>",
        f'<p class="state">{_pill(run.phase, run.ending.result if run.ending else None)} {escape(message)}</p>',
        build_facts(facts),
        "<h2>Parameters</h2>",
        build_facts(list(run.parameters.items())) if run.parameters else "<p>None.</p>",
    ]
    for attempt, log in zip(attempts, logs, strict=True):
        parts.append(_attempt(run, attempt, log))
    return build_document(f"{run.job.name}, run {run.run_id}", "\n".join(parts), run.is_active)


def _attempt(run: RunRecord, attempt: AttemptRecord, log: WorkloadLog) -> str:
    facts = [
        ("Task run id", str(attempt.attempt_id)),
        ("Started", _time(attempt.started_at)),
        ("Ended", _time(attempt.ended_at)),
    ]
    if attempt.started_at is not None and attempt.ended_at is not None:
        facts.append(("Duration", f"{(attempt.ended_at - attempt.started_at) / 1000:.1f} s"))
    if attempt.exit_code is not None:
        facts.append(("Exit code", str(attempt.exit_code)))
    cut = log.truncated or len(log.text) > _SHOWN_LOG_CHARACTERS
    text = escape(log.text[-_SHOWN_LOG_CHARACTERS:]) or "(nothing written yet)"
    pill = _pill(attempt.phase, attempt.ending.result if attempt.ending else None)
    return "\n".join(
        [
            f'<h2 id="attempt-{attempt.number}">{escape(run.job.task.task_key)}, attempt {attempt.number} {pill}</h2>',
            build_facts(facts),
            f"<p>{'The end of the log' if cut else 'Log'}:</p><pre>{text}</pre>",
        ]
    )


def _pill(phase: str, result: str | None) -> str:
    kind = "busy" if result is None else _COLOURS.get(result, "idle")
    return f'<span class="pill {kind}">{escape(result or phase)}</span>'


def build_facts(rows: list[tuple[str, str]]) -> str:
    """Names and values as a table."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def _time(millis: int | None) -> str:
    if millis is None:
        return "not yet"
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def build_document(title: str, body: str, reload: bool = False) -> str:
    """A whole page.

    Args:
        body: HTML, escaped.
        reload: whether it asks for itself again every few seconds.
    """
    refresh = '<meta http-equiv="refresh" content="3">' if reload else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}"
        "<footer>Local cloud: a Databricks workspace on this machine.</footer></body></html>"
    )
