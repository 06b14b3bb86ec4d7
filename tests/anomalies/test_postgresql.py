"""A live table and a write-back on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from adfml_assets.anomalies.detecting import detect_anomalies
from adfml_assets.anomalies.readings import LiveSource
from adfml_assets.anomalies.write_back import write_back_anomalies
from resources.database import Databases
from resources.lake import Lake
from tests.anomalies.conftest import DAY, SPEC, VARIABLES, make_times, make_values, row_of
from tests.postgresql_server import RunningPostgresql, connect, run_postgresql


@pytest.fixture(scope="module")
def server() -> Iterator[RunningPostgresql]:
    with run_postgresql() as running:
        yield running


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_readings_are_checked_and_written_back(
    lake: Lake, server: RunningPostgresql, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    values = make_values()
    values[row_of(0.5) : row_of(0.5) + 12, 1] += 1.5
    numbers = ", ".join(f'"{name}" double precision' for name in VARIABLES)
    with server.database() as url, connect(url) as writer:
        monkeypatch.setenv("ADFML_SHOP_URL", url.render_as_string(hide_password=False))
        writer.execute(f'CREATE TABLE readings (machine int, "ReadingTime" {kind}, {numbers})')
        with writer.cursor().copy("COPY readings FROM STDIN") as copy:
            for moment, row in zip(make_times(len(values)), values, strict=True):
                copy.write_row((7, moment if kind == "timestamptz" else moment.replace(tzinfo=None), *map(float, row)))
        databases = Databases()
        source = LiveSource("shop.public.readings", databases, "shop", "public", "readings")
        spec = replace(SPEC, by="machine")
        now = datetime(2026, 3, 11, tzinfo=UTC)
        found = detect_anomalies(lake, spec, source, DAY, asset="a", now=now, run_id="r")
        assert 12 <= found.summary.anomalies <= 13
        for _ in range(2):
            where = (lake, databases, "shop", "public", "Anomalies", found.folder, found.manifest, "all")
            written = write_back_anomalies(*where)  # type: ignore[arg-type]
            assert (written.rows, written.kept_newer) == (144, 0)
        joined = f"""SELECT count(*), count(*) FILTER (WHERE a."IsAnomaly"), min(a."ReadingTime")::text, min(a.machine)
            FROM "Anomalies" a JOIN readings r
            ON r.machine = a.machine AND r."ReadingTime"{" AT TIME ZONE 'UTC'" if kind == "timestamptz" else ""}
            = a."ReadingTime" """
        counted = writer.execute(joined.encode()).fetchone()
        assert counted == (144, found.summary.anomalies, "2026-03-10 00:00:00", 7)
        databases.engine("shop").dispose()
