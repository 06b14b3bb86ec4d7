"""A small code location in which things fail on order, its alert sensor, and channels that keep what they get."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from resources.control import ControlDatabase
from resources.control_tables import alert_messages
from resources.errors import Refused
from resources.settings import ALL
from sensors.alert_sensor import NAME, build_alert_sensor
from tests.alerts.mail_server import certificates, mailbox

__all__ = ["certificates", "mailbox"]

DAILY = dg.DailyPartitionsDefinition("2026-01-01")
RETRIES = {"run_retries": {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False}}
"""As in dagster.yaml."""


class OrderConfig(dg.Config):
    """What is to happen in a run."""

    fails: list[str] = []  # noqa: RUF012 - pydantic copies it
    text: str = ""


@dg.multi_asset(
    specs=[dg.AssetSpec(["archive", name]) for name in ("Customers", "Products")],
    can_subset=True,
    partitions_def=DAILY,
)
def archived(context: dg.AssetExecutionContext, config: OrderConfig) -> Iterator[dg.MaterializeResult]:
    for key in context.selected_asset_keys:
        if key.path[-1] not in config.fails:
            yield dg.MaterializeResult(asset_key=key)
    if config.fails:
        raise dg.Failure(f"{len(config.fails)} tables were not archived. {config.text}", allow_retries=False)


@dg.asset(deps=[["archive", "Customers"]], partitions_def=DAILY)
def features(config: OrderConfig) -> None:
    if config.fails:
        raise Refused("Key Vault", "https://vault", "no such permission", "the role")


@dg.asset(deps=[features], partitions_def=DAILY)
def scores() -> None:
    """Follows."""


@dg.asset_check(asset=features, blocking=True)
def in_time(config: OrderConfig) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=not config.text, description=config.text or None)


@dg.op
def launch(config: OrderConfig) -> None:
    if config.fails:
        raise ValueError("nothing to launch")


@dg.job
def launching() -> None:
    launch()


@dataclass
class Site:
    """A deployment: runs on order, ticks of its alert sensor, and what was sent."""

    instance: dg.DagsterInstance
    control: ControlDatabase
    repository: Any
    cursor: str | None = None
    said: list[str] = field(default_factory=list)

    def run(self, day: str, keys: str, tags: dict[str, str] | None = None, **order: Any) -> str:
        job = self.repository.get_implicit_global_asset_job_def()
        asked = {"archived", "features", "features_in_time"}
        selection = [dg.AssetKey(key.split("/")) for key in keys.split()]
        subset = job.get_subset(asset_selection=set(selection))
        ops = {name: {"config": order} for name in asked if name in {node.name for node in subset.nodes}}
        result = job.execute_in_process(
            instance=self.instance,
            partition_key=day,
            asset_selection=selection,
            raise_on_error=False,
            run_config={"ops": ops},
            tags=tags,
        )
        return result.run_id

    def launch(self, *fails: str) -> str:
        job = self.repository.get_job("launching")
        config = {"ops": {"launch": {"config": {"fails": list(fails)}}}}
        return job.execute_in_process(instance=self.instance, run_config=config, raise_on_error=False).run_id

    def tick(self) -> str:
        context = dg.build_sensor_context(
            self.instance, self.cursor, repository_def=self.repository, resources={"control": self.control}
        )
        result = self.repository.get_sensor_def(NAME).evaluate_tick(context)
        self.cursor = result.cursor
        return str(result.skip_message)

    def messages(self, state: str | None = None) -> list[dict[str, Any]]:
        with self.control.engine.connect() as connection:
            rows = connection.execute(sa.select(alert_messages).order_by(alert_messages.c.created_at)).mappings()
            return [dict(row) for row in rows if state is None or row["state"] == state]

    def let_time_pass(self, passed: timedelta) -> None:
        """Move every time in the register back, as if so much had passed since."""
        from resources.control_tables import incidents

        with self.control.engine.begin() as connection:
            for table, columns in ((incidents, ("told_at", "opened_at")), (alert_messages, ("due_at", "created_at"))):
                for row in connection.execute(sa.select(table)).mappings().all():
                    key = next(iter(table.primary_key.columns))
                    moved = {name: row[name] - passed for name in columns if row[name] is not None}
                    connection.execute(table.update().where(key == row[key.name]).values(**moved))


@pytest.fixture(scope="session")
def repository() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADFML_ENVIRONMENT", "dev")
        return dg.Definitions(
            assets=[archived, features, scores],
            asset_checks=[in_time],
            jobs=[launching],
            sensors=[build_alert_sensor()],
            resources={"control": ControlDatabase()},
            executor=dg.in_process_executor,
        ).get_repository_def()


@pytest.fixture
def site(repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for setting in ALL:
        if "ALERTS" in setting.name:
            monkeypatch.delenv(setting.name, raising=False)
    monkeypatch.setenv("ADFML_CONTROL_URL", f"sqlite:///{tmp_path / 'control.sqlite'}")
    monkeypatch.setenv("ADFML_UI_URL", "https://dagster.example.com/")
    monkeypatch.setenv("ADFML_ENVIRONMENT", "production")
    with dg.instance_for_test(overrides=RETRIES) as instance:
        found = Site(instance, ControlDatabase(), repository)
        found.tick()
        yield found


class Webhook(BaseHTTPRequestHandler):
    """Takes what is posted; answers what it was told to."""

    server: "WebhookServer"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.answers.pop(0) if self.server.answers else 202
        self.server.asked.append(self.path)
        if status < 400:
            self.server.taken.append((self.path, body))
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "600")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.send_response(405)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


class WebhookServer(HTTPServer):
    """Where webhooks lead to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Webhook)
        self.taken: list[tuple[str, Any]] = []
        self.asked: list[str] = []
        self.answers: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def webhook() -> Iterator[WebhookServer]:
    server = WebhookServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def slack(webhook: WebhookServer, monkeypatch: pytest.MonkeyPatch) -> WebhookServer:
    monkeypatch.setenv("ADFML_ALERTS_SLACK_URL", f"{webhook.url}/slack?sig=pa55word-of-slack")
    return webhook


def titles(webhook: WebhookServer) -> list[str]:
    return [body["text"] for _, body in webhook.taken]


def utc(days: int = 0) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)
