"""A local cloud with the OpenAI service, the resource that talks to it, and a table of feedback archived in a lake."""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.components.openai_batch_engine import OpenAIBatchEngine, TokenPrice
from adfml_assets.components.scored_text import ScoredText
from adfml_assets.text.batch_assets import build_spec
from adfml_assets.text.requests import RequestSpec, build_requests
from adfml_assets.text.results import Result, collect_answers
from local_cloud.process import LocalCloud
from resources.control import ControlDatabase, utc_now
from resources.control_tables import remote_jobs
from resources.lake import Lake
from resources.ledger import Ledger
from resources.manifest import Manifest, build_manifest, commit_manifest, read_manifest
from resources.openai_batch import OpenAIBatch
from resources.remote_jobs import RemoteJob
from resources.submission import submit_job
from sensors.polling import Tick, advance_jobs

DAY = "2026-03-10"
SCHEMA = {
    "type": "object",
    "properties": {
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative", "mixed"]},
        "positive": {"type": "number", "minimum": 0, "maximum": 1},
    },
}
TEMPLATE = "Which sentiment has this feedback of a customer in {{ Country }}?\n<feedback>{{ Text }}</feedback>\n"
PRICE = TokenPrice(input=2.5, output=10.0)
log = logging.getLogger("test")


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as started:
        yield started


def make_feedback(count: int, texts: Sequence[str | None] | None = None) -> pa.Table:
    """A table of so many feedbacks, good and bad."""
    words = ("I love it, great quality.", "Terrible, it broke at once.", "It is a lamp.")
    shown = texts if texts is not None else [f"{words[number % 3]} Order {number}." for number in range(count)]
    return pa.table(
        {
            "Id": pa.array(range(1, len(shown) + 1), pa.int64()),
            "Text": pa.array(shown, pa.string()),
            "Country": pa.array(["Norway" if number % 2 else None for number in range(len(shown))], pa.string()),
            "scored": pa.array([0] * len(shown), pa.int32()),
        }
    )


def declare(**more: Any) -> ScoredText:
    """The declaration of the tests; keywords are fields of the engine, or of the declaration."""
    engine = {
        "deployment": "gpt-4o-mini",
        "template": TEMPLATE,
        "answer_schema": SCHEMA,
        # The service hits rows that it has not seen before: no two tests ask the same.
        "system": f"You judge feedback. {uuid.uuid4().hex}",
        "price": PRICE,
        **{name: more.pop(name) for name in list(more) if name in OpenAIBatchEngine.__dataclass_fields__},
    }
    values: dict[str, Any] = {"name": "feedback", "source": "shop.main.Feedback", "key": ["Id"], "text": "Text", **more}
    return ScoredText(engine=OpenAIBatchEngine(**engine), **values)


def archive(lake: Lake, table: pa.Table, day: str = DAY) -> tuple[str, Manifest]:
    """A snapshot of Feedback, as the archive leaves it."""
    folder = lake_layout.archive_folder("shop", "main", "Feedback", day)
    written = lake.write_table(f"{folder}/Feedback.parquet", table)
    manifest = build_manifest(
        asset="archive/shop/main/Feedback",
        partition=day,
        files=[written],
        schema=table.schema,
        written_at=utc_now(),
        run_id="archive",
    )
    commit_manifest(lake, folder, manifest)
    return folder, manifest


@dataclass
class Bench:
    """What a test does over and over: ask about a table, let the service work, tick, collect."""

    cloud: LocalCloud
    lake: Lake
    ledger: Ledger
    service: OpenAIBatch
    declaration: ScoredText = field(default_factory=lambda: declare())
    day: str = DAY

    @property
    def spec(self) -> RequestSpec:
        return build_spec(self.declaration, self.declaration.engine, Path())  # type: ignore[arg-type]

    def build(self, table: pa.Table, **more: Any) -> tuple[Manifest, list[dict[str, Any]]]:
        snapshot = archive(self.lake, table, self.day)
        values = {"asset": "ml/f_job", "now": utc_now(), "run_id": "run", **more}
        return build_requests(self.lake, self.spec, snapshot, self.day, **values)

    def open(self, requests: Sequence[Mapping[str, Any]], **more: Any) -> list[RemoteJob]:
        values: dict[str, Any] = {"deadline": timedelta(hours=1), "max_tries": 3, "run_id": "run", **more}
        return self.ledger.open_jobs(
            asset="ml/f_job",
            collecting_asset="ml/f",
            partition=self.day,
            service="openai_batch",
            requests=requests,
            **values,
        )

    def ask(self, table: pa.Table) -> list[RemoteJob]:
        """Everything up to the submission of every shard."""
        _, requests = self.build(table)
        return [submit_job(self.ledger, self.service, job) for job in self.open(requests)]

    def expire_leases(self) -> None:
        """As if a minute had passed since somebody was about to send a job, and the wait for room were over."""
        past = utc_now() - timedelta(seconds=1)
        with self.ledger._engine.begin() as connection:
            waiting = remote_jobs.c.state == "submitting"
            connection.execute(remote_jobs.update().where(waiting).values(submitter_lease_until=past))

    def tick(self) -> Tick:
        return advance_jobs(self.ledger, self.service, now=utc_now(), budget_seconds=30, log=log)

    def group(self) -> list[RemoteJob]:
        return self.ledger.list_group("ml/f", self.day)

    def finish(self, seconds: float = 20) -> list[RemoteJob]:
        """Tick until no job is outstanding, waiting for nothing that only waits for time to pass."""
        stop_at = time.monotonic() + seconds
        while any(job.outstanding for job in self.group()):
            states = [(job.submission_key, job.state, job.remote_state, job.message) for job in self.group()]
            assert time.monotonic() < stop_at, states
            self.expire_leases()
            self.tick()
            time.sleep(0.03)
        return self.group()

    def collect(self) -> Result:
        rows = read_manifest(self.lake, lake_layout.text_requests_folder("feedback", self.day))
        assert rows is not None
        return collect_answers(
            self.lake,
            "feedback",
            self.spec.key,
            self.spec.schema.columns,
            rows,
            self.day,
            asset="ml/f",
            now=utc_now(),
            run_id="collect",
            source={},
        )

    def predictions(self) -> pa.Table:
        return self.lake.read_table(f"{lake_layout.text_scores_folder('feedback', self.day)}/predictions.parquet")

    def rejects(self) -> pa.Table:
        return self.lake.read_table(f"{lake_layout.text_scores_folder('feedback', self.day)}/rejects.parquet")

    def order(self, **fault: Any) -> None:
        httpx.post(f"{self.cloud.url}/_local/faults", json=fault).raise_for_status()

    def behave(self, name: str, value: float | None = None, times: int | None = 1) -> None:
        self.order(kind="behaviour", name=f"openai.{name}", value=value, times=times)

    def calm(self) -> None:
        httpx.delete(f"{self.cloud.url}/_local/faults").raise_for_status()

    def batches(self) -> list[Any]:
        """All batches of this test's jobs that the service has."""
        keys = {job.remote_key for job in self.ledger.list_jobs(10_000)}
        found = self.service.client.batches.list(limit=100)
        return [batch for batch in found if (batch.metadata or {}).get("submission_key") in keys]

    def count_by_key(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for batch in self.batches():
            key = str((batch.metadata or {})["submission_key"])
            counts[key] = counts.get(key, 0) + 1
        return counts

    def require_whole(self, result: Result, count: int) -> None:
        """Every row of the input is in exactly one of the two files, and no submission made two batches."""
        answered, rejected = self.predictions()["Id"].to_pylist(), self.rejects()["Id"].to_pylist()
        assert sorted([*answered, *rejected]) == list(range(1, count + 1))
        assert (result.predictions, result.rejects) == (len(answered), len(rejected))
        assert set(self.count_by_key().values()) <= {1}


@pytest.fixture
def bench(cloud: LocalCloud, lake: Lake, control: ControlDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    yield Bench(cloud, lake, control.ledger, OpenAIBatch(lake=lake, request_timeout_seconds=10))
    httpx.delete(f"{cloud.url}/_local/faults").raise_for_status()
    httpx.delete(f"{cloud.url}/_local/requests").raise_for_status()


def environment_as_json() -> str:
    """The settings of this test, for a process of its own."""
    return json.dumps(dict(os.environ))
