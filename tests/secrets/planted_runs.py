"""A process of its own: Dagster runs that use planted secrets in every resource, some that succeed and some that fail.

    python -m tests.secrets.planted_runs ORDER.json

The order has the settings of each run and where to log; how each run ended is written beside it, without any text.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from adfml_assets.components.archived_database import ArchivedDatabase, ArchivedTable
from resources import key_vault_client, lake_stores, redaction
from resources.azure_ml_online import AzureMlOnline
from resources.azure_ml_online_target import OnlineTarget
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase
from resources.database import Databases
from resources.databricks import Databricks
from resources.key_vault import KeyVault
from resources.lake import Lake
from resources.language import Language
from resources.language_documents import build_document
from resources.openai_batch import OpenAIBatch
from resources.submission import submit_job


def archive(instance: dg.DagsterInstance) -> bool:
    """The archive of a table, with hashed columns: its own asset, not one of this file."""
    component = ArchivedDatabase(
        database="planted", tables=[ArchivedTable(table="public.customers", hash=["email"])], concurrency=2
    )
    resources = {
        "databases": Databases(),
        "lake": Lake(),
        "control": ControlDatabase(),
        "completion_log": CompletionLog(timeout_seconds=2),
    }
    assets = component.build_defs_from_state(None, None).assets or []  # type: ignore[arg-type]
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    result = dg.materialize(
        list(assets), instance=instance, partition_key=day, resources=resources, raise_on_error=False
    )
    return result.success


def connect() -> None:
    with Databases(connect_timeout_seconds=2).connect("planted"):
        pass


def open_control() -> None:
    ControlDatabase(connect_timeout_seconds=2).ledger.list_jobs()


def write_lake() -> None:
    Lake().write_bytes("ml/planted/file", b"1")


def submit_databricks() -> None:
    ledger = ControlDatabase().ledger
    job = ledger.open_job(
        asset="planted_job",
        collecting_asset="planted",
        partition=datetime.now(UTC).isoformat(),
        service="databricks",
        request={"job": "adfml_training", "parameters": {}},
        deadline=timedelta(hours=1),
        max_tries=1,
        run_id="run",
    )
    submit_job(ledger, Databricks(retry_seconds=1, request_timeout_seconds=3), job)


def list_databricks() -> None:
    assert list(Databricks(retry_seconds=1, request_timeout_seconds=3).client.jobs.list())


def post_completion() -> None:
    assert CompletionLog(timeout_seconds=2).post({"status": "Succeeded"})


def read_vault() -> None:
    assert KeyVault(cache_seconds=0).read("planted-value")


def list_batches() -> None:
    service = OpenAIBatch(lake=Lake(), request_timeout_seconds=3)
    job = ControlDatabase().ledger.open_job(
        asset="openai_job",
        collecting_asset="openai",
        partition=datetime.now(UTC).isoformat(),
        service="openai_batch",
        request={},
        deadline=timedelta(hours=1),
        max_tries=1,
        run_id="run",
    )
    assert service.find(job) is None


def analyze() -> None:
    patience = float(os.environ.get("PLANTED_PATIENCE", "0.3"))
    with Language(request_timeout_seconds=30, retry_seconds=patience).open_session() as session:
        assert session.analyze([build_document("1", "A fine day.", "en")])


def score_online() -> None:
    uri = os.environ["PLANTED_SCORING_URI"]
    AzureMlOnline(retry_seconds=0.3, request_seconds=3).score([{"x": 1}], OnlineTarget(scoring_uri=uri))


ACTIONS: dict[str, Callable[[], None]] = {
    action.__name__: action
    for action in (
        connect,
        open_control,
        write_lake,
        submit_databricks,
        list_databricks,
        post_completion,
        read_vault,
        list_batches,
        analyze,
        score_online,
    )
}


@contextmanager
def set_environment(settings: dict[str, str]) -> Iterator[None]:
    """Other settings for a while."""
    kept = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def build_asset(run: dict[str, Any]) -> dg.AssetsDefinition:
    """An asset that does one thing, under settings of its own."""

    @dg.asset(name=run["name"])
    def planted(context: dg.AssetExecutionContext) -> None:
        with set_environment(run["settings"]):
            ACTIONS[run["action"]]()
        context.log.info("done")

    return planted


def main(order: dict[str, Any]) -> dict[str, bool]:
    """How each run ended, by name."""
    if not order["second_line"]:
        redaction._MIN_CHARACTERS = sys.maxsize  # nothing is remembered, so nothing is taken out
    logging.basicConfig(filename=order["log"], level=order["level"])
    lake_stores.MAX_RETRIES = key_vault_client.RETRIES = 0
    ended = {}
    with dg.DagsterInstance.get() as instance:
        for run in order["runs"]:
            if run["action"] == "archive":
                with set_environment(run["settings"]):
                    ended[run["name"]] = archive(instance)
        others = [build_asset(run) for run in order["runs"] if run["action"] != "archive"]
        result = dg.materialize(others, instance=instance, raise_on_error=False)
        done = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    return {**ended, **{run["name"]: run["name"] in done for run in order["runs"] if run["name"] not in ended}}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.with_suffix(".ended.json").write_text(json.dumps(main(json.loads(path.read_text()))))
