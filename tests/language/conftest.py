"""A local cloud with the Language service, a table of feedback on SQLite or PostgreSQL, and runs that score it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from adfml_assets import lake_layout
from adfml_assets.text.language_rows import RowsToScore
from adfml_assets.text.language_run import LanguageRun, Marks, Progress, score_rows
from adfml_assets.text.language_scoring import TextRules
from local_cloud.process import LocalCloud
from resources.control import ControlDatabase, utc_now
from resources.database import Databases
from resources.lake import Lake
from resources.language import Language
from resources.manifest import Manifest, read_manifest
from tests.postgresql_server import RunningPostgresql, run_postgresql

PATH = "/language/:analyze-text"
SCORE_COLUMNS = ("Sentiment", "ConfidencePositive", "ConfidenceNeutral", "ConfidenceNegative")
log = logging.getLogger("test")


class Service:
    """The local cloud's Language service: its switches, and what it analysed."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.http = httpx.Client(base_url=cloud.url, timeout=30)

    def order(self, **fault: Any) -> None:
        """Put a fault in force."""
        self.http.post("/_local/faults", json=fault).raise_for_status()

    def documents(self) -> dict[str, int]:
        """How often each document id was analysed."""
        found: dict[str, int] = self.http.get("/_local/language/documents").json()["documents"]
        return found

    def peak(self) -> int:
        """Requests that were under way at once, at most."""
        return int(self.http.get("/_local/language/documents").json()["peak_requests"])

    def requests(self) -> int:
        """Requests that arrived."""
        return int(self.http.get("/_local/requests").json().get(f"POST {PATH}", 0))

    def faults_left(self) -> int:
        """Faults that nobody ran into yet."""
        return len(self.http.get("/_local/faults").json()["faults"])

    def forget(self) -> None:
        """No faults, and counts at zero."""
        for path in ("faults", "requests", "language/documents"):
            self.http.delete(f"/_local/{path}").raise_for_status()


@pytest.fixture(scope="package")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield Service(cloud)


@pytest.fixture
def service(shared_service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The service, in this test's settings."""
    for name, value in shared_service.cloud.environment().items():
        monkeypatch.setenv(name, value)
    shared_service.forget()
    yield shared_service
    shared_service.forget()


@pytest.fixture(scope="package")
def postgresql() -> Iterator[RunningPostgresql]:
    with run_postgresql() as running:
        yield running


@contextmanager
def open_sqlite(request: pytest.FixtureRequest) -> Iterator[str]:
    path = request.getfixturevalue("tmp_path") / "shop.sqlite"
    path.touch()
    yield f"sqlite:///{path}"


@contextmanager
def open_postgresql(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.getfixturevalue("postgresql").database() as url:
        yield url.render_as_string(hide_password=False)


@dataclass
class Shop:
    """A database `shop` with tables for the tests."""

    engine: sa.Engine
    schema: str

    def create(self, *columns: sa.Column[Any], name: str = "Feedback") -> sa.Table:
        """A table with columns of its own, and those that scores go to."""
        scores = [sa.Column("Sentiment", sa.String(20)), *(sa.Column(c, sa.Float) for c in SCORE_COLUMNS[1:])]
        marked = [] if any(c.name == "scored" for c in columns) else [sa.Column("scored", sa.Integer, nullable=False)]
        table = sa.Table(name, sa.MetaData(), *columns, *scores, *marked)
        table.create(self.engine)
        return table

    def feedback(self, texts: Sequence[str | None], *, first: int = 1) -> sa.Table:
        """Feedback to be scored; its ids count from `first`."""
        table = self.create(
            sa.Column("FeedbackId", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("FeedbackText", sa.UnicodeText),
        )
        self.add(table, [{"FeedbackId": first + i, "FeedbackText": text} for i, text in enumerate(texts)])
        return table

    def add(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        with self.engine.begin() as connection:
            connection.execute(table.insert(), [{"scored": 0, **row} for row in rows])

    def execute(self, statement: sa.Executable) -> None:
        with self.engine.begin() as connection:
            connection.execute(statement)

    def read(self, table: sa.Table) -> list[Any]:
        """Its rows, by key."""
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(table).order_by(*table.primary_key or table.columns)))


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """On both databases."""
    openers = {"sqlite": open_sqlite, "postgresql": open_postgresql}
    with openers[request.param](request) as url:
        monkeypatch.setenv("ADFML_SHOP_URL", url)
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        yield Shop(engine, "main" if engine.dialect.name == "sqlite" else "public")


@pytest.fixture
def sqlite_shop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """On SQLite, where the database makes no difference."""
    with open_sqlite(request) as url:
        monkeypatch.setenv("ADFML_SHOP_URL", url)
        yield Shop(sa.create_engine(url, poolclass=sa.NullPool), "main")


@dataclass
class Scorer:
    """Runs over the shop's Feedback."""

    lake: Lake
    control: ControlDatabase
    databases: Databases
    language: Language
    schema: str

    def plan(self, **changes: Any) -> LanguageRun:
        """What a run does; `changes` are fields of LanguageRun, or of its rows, rules and marks."""
        rows = RowsToScore(self.databases, "shop", self.schema, "Feedback", ("FeedbackId",), "FeedbackText", "scored")
        rules = TextRules("en", "split")
        marks = Marks(*SCORE_COLUMNS, "scored", -1)
        run = LanguageRun("mood", "ml/text_scores/mood", rows, rules, marks, page_rows=10, concurrency=4)
        parts = {"rows": rows, "rules": rules, "marks": marks}
        for name, standard in parts.items():
            part = changes.get(name, standard)
            own = {key: changes.pop(key) for key in list(changes) if key in part.__dataclass_fields__}
            changes[name] = replace(part, **own)
        return replace(run, **{"lease": timedelta(seconds=3), **changes})

    def score(self, day: str | None = None, *, run_id: str = "run", **changes: Any) -> tuple[Manifest, Progress, int]:
        return score_rows(
            self.plan(**changes),
            day or today(),
            lake=self.lake,
            control=self.control,
            language=self.language,
            run_id=run_id,
            log=log,
        )

    def read(self, what: str, day: str | None = None) -> list[dict[str, Any]]:
        """The rows of a day's predictions or rejects, as its manifest names them."""
        folder = lake_layout.text_scores_folder("mood", day or today())
        manifest = read_manifest(self.lake, folder)
        assert manifest is not None
        (name,) = [file.name for file in manifest.files if file.name.startswith(what)]
        rows: list[dict[str, Any]] = self.lake.read_table(f"{folder}/{name}").to_pylist()
        return rows

    def pages(self) -> list[str]:
        """Pages that are in no day's files."""
        return [path for path in self.lake.list_files("ml/text-scores/mood") if "/pages/" in path]


def today() -> str:
    return utc_now().date().isoformat()


@pytest.fixture
def build_scorer(lake: Lake, control: ControlDatabase, databases: Databases) -> Callable[[str], Scorer]:
    def build(schema: str) -> Scorer:
        return Scorer(lake, control, databases, Language(retry_seconds=30, request_timeout_seconds=30), schema)

    return build


@pytest.fixture
def scorer(service: Service, shop: Shop, build_scorer: Callable[[str], Scorer]) -> Scorer:
    """On both databases."""
    return build_scorer(shop.schema)


@pytest.fixture
def sqlite_scorer(service: Service, sqlite_shop: Shop, build_scorer: Callable[[str], Scorer]) -> Scorer:
    return build_scorer(sqlite_shop.schema)
