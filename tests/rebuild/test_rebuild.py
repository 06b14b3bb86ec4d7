"""`adfml rebuild`: a control database that was lost, back from the lake."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from adfml_assets import lake_layout
from adfml_assets.archive.increment import take_increment
from adfml_assets.archive.plan import ArchivePlan
from adfml_assets.archive.run import closing_run
from adfml_assets.archive.tables import TableRules
from adfml_assets.asset_keys import model_key
from adfml_cli.cli import app
from resources.control import ControlDatabase
from resources.control_tables import archive_watermark
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import FILE_NAME, Manifest, ManifestFile
from resources.servers.base import Watermark
from tests.conftest import NOW, TRANSACTIONS, add_line

RULES = TableRules(watermark=Watermark("ModifiedDate"))
ASSET = "incremental/shop/main/Transactions"
DAYS = ("2026-03-10", "2026-03-11")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rebuild", *arguments])


def take_extracts(shop: sqlite3.Connection, lake: Lake, control: ControlDatabase, days: tuple[str, ...] = DAYS) -> None:
    for number, day in enumerate(days):
        add_line(shop, 1, f"{day} 08:00:00.000000")
        plan = ArchivePlan("shop", "incremental", {})
        run = plan.open_run(Databases(), lake, control, now=NOW + timedelta(days=DAYS.index(day)), run_id=f"r{number}")
        with closing_run(run):
            take_increment(run, TRANSACTIONS, RULES, day, asset=ASSET)


def read_rows(control: ControlDatabase) -> list[tuple[object, ...]]:
    query = sa.select(archive_watermark).order_by(archive_watermark.c.SequenceNumber)
    with control.engine.connect() as connection:
        # When it was recorded is known to the manifest only as when the run began.
        return [(*tuple(row)[:7], row.RunId) for row in connection.execute(query)]


def lose_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ControlDatabase:
    monkeypatch.setenv("ADFML_CONTROL_URL", f"sqlite:///{tmp_path}/new.sqlite")
    return ControlDatabase()


def put_version(
    lake: Lake, version: str, file: str = "model.skops", said: str | None = None, model: str = "churn"
) -> str:
    content = f"model {version}".encode()
    digest = hashlib.sha256(content).hexdigest()
    folder = lake_layout.model_folder(model, version)
    metadata = {
        "model_file": file,
        "model_sha256": said or digest,
        "mlflow": {"registered_model_name": "main.ml.churn", "registered_model_version": version},
    }
    manifest = Manifest(
        asset=model_key(model).to_user_string(),
        partition=version,
        files=(ManifestFile(name=file, rows=0, bytes=len(content), sha256=digest),),
        columns=(),
        schema_sha256="f" * 64,
        written_at=NOW,
        run_id="r",
        source={"submission_key": f"ml/models/churn_job|{version}|1", "url": None},
        facts={"metrics": {"test": {"mae": 12.5}}},
    )
    lake.write_bytes(f"{folder}/{file}", content)
    lake.write_bytes(f"{folder}/metadata.json", json.dumps(metadata).encode())
    lake.write_bytes(f"{folder}/{FILE_NAME}", manifest.model_dump_json().encode())
    return digest


def test_intervals_come_back_exactly_and_the_next_extract_goes_on(
    shop: sqlite3.Connection, lake: Lake, control: ControlDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_extracts(shop, lake, control)
    recorded = read_rows(control)
    new = lose_control(tmp_path, monkeypatch)
    assert "Intervals: 2 found in manifests, 2 put back, 0 there already." in call().stdout
    assert read_rows(new) == recorded
    assert "2 found in manifests, 0 put back, 2 there already." in call().stdout
    assert new.intervals.find_gaps("shop.main.Transactions") == []
    following = new.intervals.record("shop.main.Transactions", "2026-03-12", "2026-03-12 08:00:00.000000", "r9")
    assert (following.sequence, following.lower) == (2, recorded[-1][4])


def test_a_control_database_that_went_another_way_is_not_overwritten(
    shop: sqlite3.Connection, lake: Lake, control: ControlDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_extracts(shop, lake, control)
    new = lose_control(tmp_path, monkeypatch)
    new.intervals.record("shop.main.Transactions", DAYS[1], "2026-03-11 09:00:00.000000", "another")
    before = read_rows(new)
    result = call()
    assert result.exit_code == 1
    assert result.stderr.startswith("shop.main.Transactions: the lake has (2026-03-10: number 0, after None up to")
    assert read_rows(new) == before


@pytest.mark.parametrize("databases", [{"database": "shop"}, {"databases": ["crm", "shop"]}])
def test_intervals_that_are_kept_in_the_source_are_not_this_databases(
    shop: sqlite3.Connection,
    lake: Lake,
    control: ControlDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    databases: dict[str, object],
) -> None:
    from adfml_cli import rebuild

    take_extracts(shop, lake, control, DAYS[:1])
    new = lose_control(tmp_path, monkeypatch)
    declared = [("ArchivedDatabase", {**databases, "watermarks_in": "source"})]
    monkeypatch.setattr(rebuild, "read_declarations", lambda: iter(declared))
    assert "Intervals: 0 found" in call().stdout
    assert read_rows(new) == []


def test_versions_come_back_without_a_verdict_and_somebody_says_which_is_champion(
    lake: Lake, control: ControlDatabase
) -> None:
    digest = put_version(lake, "1")
    result = call()
    assert "Versions: 1 found in the lake, 1 put back without a verdict, 0 there already." in result.stdout
    assert "Model churn has no champion: adfml promote churn VERSION --force" in result.stdout
    version = control.models.get("churn", "1")
    assert (version.model_sha256, version.verdict, version.metrics) == (digest, None, {"test": {"mae": 12.5}})
    assert (version.registered_name, version.registered_version) == ("main.ml.churn", "1")
    assert version.submission_key == "ml/models/churn_job|1|1"
    control.models.promote("churn", "1", "me", "lost", force=True)
    again = json.loads(call("--json").stdout)
    assert (again["versions"]["restored"], again["models_without_champion"]) == (0, [])


def test_a_model_is_called_as_its_folder_says_and_not_as_its_asset(lake: Lake, control: ControlDatabase) -> None:
    put_version(lake, "1", model="churn-forecast")
    result = call()
    assert "Versions: 1 found in the lake, 1 put back" in result.stdout, result.output
    assert control.models.list_models() == ["churn-forecast"]


def test_a_version_without_metadata_is_left_out(lake: Lake, control: ControlDatabase) -> None:
    put_version(lake, "1")
    lake.delete(f"{lake_layout.model_folder('churn', '1')}/metadata.json")
    put_version(lake, "2")
    result = call()
    assert "Versions: 2 found in the lake, 1 put back" in result.stdout, result.output
    assert "Left out: churn version 1: " in result.stdout


def test_a_pickle_and_a_changed_file_are_not_believed(lake: Lake, control: ControlDatabase) -> None:
    put_version(lake, "1", "model.pkl")
    put_version(lake, "2", said="0" * 64)
    result = call()
    assert "Versions: 2 found in the lake, 0 put back" in result.stdout
    assert "Left out: churn version 1: a pickle is not believed" in result.stdout
    assert "Left out: churn version 2: Model churn version 2, metadata.json" in result.stdout
    assert control.models.list_models() == []
