"""A partition: the models it takes, the readings it checks, and what is written of them, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from adfml_assets import lake_layout
from adfml_assets.anomalies.alignment import Rows, align
from adfml_assets.anomalies.declared import DetectorSpec, Window, Windows, choose_windows, to_microseconds
from adfml_assets.anomalies.errors import GroupError, GroupsFailed, NoModelOfGroup
from adfml_assets.anomalies.model import SeriesModel, fit_model
from adfml_assets.anomalies.model_files import StoredModels, read_models, write_models
from adfml_assets.anomalies.readings import Readings, Source, open_readings
from adfml_assets.anomalies.results import CHUNK_ROWS, FILE, build_schema, iterate_results
from adfml_assets.anomalies.summary import SeriesSummary, Summary
from resources.lake import Lake, ParquetSink
from resources.manifest import FILE_NAME as MANIFEST_FILE
from resources.manifest import Manifest, build_manifest, commit_manifest

if TYPE_CHECKING:
    import pyarrow as pa

AsOf = Literal["partition", "last_reading"]
MOST_ERRORS_KEPT = 100


@dataclass(frozen=True)
class Detection:
    """What became of a partition.

    Attributes:
        folder, manifest: of the partition.
        windows: what was checked with which model.
        summary: what was found, by series.
        fitted: whether models were fitted for it rather than taken from the lake.
    """

    folder: str
    manifest: Manifest
    windows: Windows
    summary: Summary
    fitted: bool


@dataclass
class _Outcome:
    """Errors by series while a partition is made."""

    errors: dict[str | None, tuple[str, str]] = field(default_factory=dict)

    def attempt(self, key: str | None, work: Callable[[], Any]) -> Any:
        """Do a series' work; a series that cannot be worked with gives None, and its error is kept."""
        try:
            return work()
        except GroupError as error:
            self.errors[key] = (error.code, str(error))
            return None


def detect_anomalies(
    lake: Lake,
    spec: DetectorSpec,
    source: Source,
    day: str,
    *,
    as_of: AsOf = "partition",
    refit: bool = False,
    asset: str,
    now: datetime,
    run_id: str,
    facts: Mapping[str, Any] | None = None,
) -> Detection:
    """Check a partition's window, with models of the days before it; write what is found.

    Nothing after the partition's day is read. Where there are no readings to be checked, the partition is empty.

    Args:
        day: the partition, a UTC day.
        as_of: `partition`: the window ends with the partition's day; `last_reading`: with the newest reading's day,
            where the data ended before (recorded history, demo data).
        refit: fit again, also where a stored model would be used.
        facts: for the manifest, beside those that every partition has.

    Raises:
        DetectionError: a column, window, series or stored model is not as it has to be; see `errors`.
    """

    def choose(newest: datetime | None) -> Windows:
        return choose_windows(spec, day, newest if as_of == "last_reading" else None)

    before = to_microseconds(date.fromisoformat(day) + timedelta(days=1))
    with open_readings(source, spec, before, choose) as readings:
        windows = readings.windows
        groups = readings.list_groups(windows.detect)
        outcome = _Outcome()
        stored, fitted = None, False
        if groups:
            stored = read_models(lake, spec, windows) if windows.stored_model and not refit else None
            fitted = stored is None
            stored = stored or _fit_models(readings, spec, groups, outcome)
            if fitted and (spec.leave_out_errors or not outcome.errors) and stored.models:
                write_models(lake, spec, windows, stored, now=now, run_id=run_id)
        summary = Summary(windows.detect)
        folder = lake_layout.anomalies_folder(spec.name, day)
        schema = build_schema(spec.by, readings.group_type)
        with lake.write_parquet(f"{folder}/{FILE}", schema) as sink:
            for batches in _detect_groups(readings, spec, groups, stored, outcome, summary, schema):
                _write(sink, batches, schema)
            if outcome.errors and (not spec.leave_out_errors or not summary.series):
                messages = [message for _, message in outcome.errors.values()]
                raise GroupsFailed(spec.name, day, messages, len(groups))
            # From here until the new manifest is written the partition is not there: never with another one's rows.
            lake.delete(f"{folder}/{MANIFEST_FILE}")
    assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
    summary.errors = dict(outcome.errors)
    manifest = build_manifest(
        asset=asset,
        partition=day,
        files=[sink.written],
        schema=schema,
        written_at=now,
        run_id=run_id,
        source={"table": source.name},
        facts={**_list_facts(spec, readings, summary, stored, fitted), **(facts or {})},
    )
    commit_manifest(lake, folder, manifest)
    return Detection(folder, manifest, windows, summary, fitted)


def _fit_models(readings: Readings, spec: DetectorSpec, checked: list[Any], outcome: _Outcome) -> StoredModels:
    """The models of the series to be checked; of all in the fit window where the models are kept for other days."""
    windows = readings.windows
    groups = list(checked)
    if windows.stored_model:
        known = set(checked)
        groups += [group for group in readings.list_groups(windows.fit) if group not in known]
    models: dict[str | None, SeriesModel] = {}
    for group in groups:
        key, where = _name(group), _describe(spec, group, "fit window", windows.fit)

        def fit(group: Any = group, where: str = where) -> SeriesModel:
            rows = align(*readings.read(group, windows.fit), spec.variables, spec.align, where)
            return fit_model(rows.values, spec, where)

        model = outcome.attempt(key, fit)
        if model is not None:
            models[key] = model
    folder = lake_layout.anomaly_model_folder(spec.name, windows.version)
    return StoredModels(folder, models, dict(outcome.errors))


def _detect_groups(
    readings: Readings,
    spec: DetectorSpec,
    groups: list[Any],
    stored: StoredModels | None,
    outcome: _Outcome,
    summary: Summary,
    schema: pa.Schema,
) -> Iterator[list[pa.RecordBatch]]:
    """Batches of about CHUNK_ROWS rows or more: each becomes a row group."""
    windows = readings.windows
    waiting: list[pa.RecordBatch] = []
    rows_waiting = 0
    if stored is None:
        return
    for group in groups:
        key, where = _name(group), _describe(spec, group, "checked window", windows.detect)
        if key in outcome.errors:
            continue
        if key in stored.errors:
            outcome.errors[key] = stored.errors[key]
            continue
        model = stored.models.get(key)
        if model is None:
            missing = NoModelOfGroup(where, stored.folder)
            outcome.errors[key] = (missing.code, str(missing))
            continue

        def read(group: Any = group, where: str = where) -> Rows:
            return align(*readings.read(group, windows.detect), spec.variables, spec.align, where)

        rows = outcome.attempt(key, read)
        if rows is None:
            continue
        found = SeriesSummary.begin(key, windows.detect, model, rows)
        for batch in iterate_results(rows, model, group, windows.version, spec, schema):
            found.add(batch)
            waiting.append(batch)
            rows_waiting += batch.num_rows
            if rows_waiting >= CHUNK_ROWS:
                yield waiting
                waiting, rows_waiting = [], 0
        summary.add(found)
    if waiting:
        yield waiting


def _write(sink: ParquetSink, batches: list[pa.RecordBatch], schema: pa.Schema) -> None:
    import pyarrow as pa

    sink.write(pa.Table.from_batches(batches, schema).combine_chunks())


def _name(group: Any) -> str | None:
    return None if group is None else str(group)


def _describe(spec: DetectorSpec, group: Any, what: str, window: Window) -> str:
    series = f", {spec.by} {group}" if spec.by else ""
    return f"Detector {spec.name}{series}, {what} {window}"


def _list_facts(
    spec: DetectorSpec, readings: Readings, summary: Summary, stored: StoredModels | None, fitted: bool
) -> dict[str, Any]:
    """What the manifest says; the first errors only, where there are very many."""
    worst = summary.find_worst()
    errors = [
        {"series": key, "code": code, "message": message}
        for key, (code, message) in list(summary.errors.items())[:MOST_ERRORS_KEPT]
    ]
    return {
        "detector": spec.name,
        "variables": list(spec.variables),
        "timestamp": spec.timestamp,
        "by": spec.by,
        "checked": str(readings.windows.detect),
        "checked_from": readings.windows.detect.first.isoformat(),
        "checked_before": readings.windows.detect.end.isoformat(),
        "fitted_on": str(readings.windows.fit),
        "newest_reading": readings.newest.astimezone(UTC).isoformat() if readings.newest else None,
        "model_version": readings.windows.version if stored else None,
        "model_folder": stored.folder if stored else None,
        "model_fitted_now": fitted,
        "series": len(summary.series),
        "anomalies": summary.anomalies,
        "filled": summary.filled,
        "left_out": summary.left_out,
        "errors": errors,
        "series_with_errors": len(summary.errors),
        "worst": worst.describe() if worst else None,
    }
