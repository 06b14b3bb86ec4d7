"""Rows to train on from a feature set's snapshots, with labels made of archived tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import TYPE_CHECKING

from adfml_assets.duckdb_sql import build_scan, quote
from adfml_assets.errors import AdfmlError
from adfml_assets.features.column_origins import name_assets, trace_expression
from adfml_assets.features.definition import FEATURE_DATE
from adfml_assets.features.expressions import load_function, make_dates, require_columns
from adfml_assets.features.sources import find_partitions
from adfml_assets.origins import Origin, copy_columns, map_personal
from adfml_assets.training.choice import Choice, name_source, require_whole_windows
from adfml_assets.training.columns import (
    check_features,
    read_schema,
    require_numeric,
    require_other_names,
    require_rows,
)
from adfml_assets.training.errors import DuplicateLabels, LabelFailed
from adfml_assets.training.feature_snapshots import Snapshot, choose_snapshots
from adfml_assets.training.spec import FeaturesSource, LabelSpec
from adfml_assets.training.splits import list_left_out, split_dates
from adfml_assets.training.workspace import ROWS, Partitions, Staged, attached, fetch_row
from resources.lake import Lake
from resources.manifest import list_data_paths

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend
    from ibis.expr.types import Table

_STAGED, _LABELS = "adfml_features", "adfml_labels"


def stage_features(
    lake: Lake, backend: Backend, model: str, source: FeaturesSource, label: LabelSpec, choice: Choice
) -> Staged:
    """Put the rows of all splits into a workspace's table ROWS.

    Raises:
        NotFound: there is no such snapshot; the baseline is no feature; a column is missing.
        PartitionMissing, NothingArchived: a table of the label is not archived.
        SnapshotsDiffer: `each` would mix definitions.
        WrongFeatureType: a feature is neither a number nor a category column, or the label no number.
        NamesTaken: the label has the name of another column.
        LabelWindowPastData: of an end date that was asked for.
        NothingToTrainOn: a split would be empty.
        ExpressionNotFound, LabelFailed: the label's function is not there, or cannot be applied to its tables.
        DuplicateLabels: it gave several for one row.
    """
    chosen = choose_snapshots(lake, source, label, choice)
    described = chosen.snapshots[-1]
    key, names = str(described.manifest.facts["key"]), described.features
    what = f"Feature set {source.feature_set}"
    schema = read_schema(lake, list_data_paths(described.folder, described.manifest)[0])
    categories = check_features(what, schema, names, label.baseline)
    require_other_names(what, [key, FEATURE_DATE, *names, label.name])
    offered: dict[date, Snapshot] = {}
    for part in chosen.snapshots:
        for day in _list_dates(lake, backend, part) if chosen.all_dates else [part.own_date]:
            if day is not None and day in choice.period:
                offered.setdefault(day, part)
    dates = sorted(offered)
    require_whole_windows(model, choice, label.days, chosen.last_day)
    splits = split_dates(
        dates,
        chosen.last_day,
        label.days,
        validation_dates=source.validation_dates,
        test_dates=source.test_dates,
    )
    require_rows(model, {split: len(days) for split, days in splits.items()}, dates, label.days)
    used = [day for dates_of_split in splits.values() for day in dates_of_split]
    parts = [part for part in chosen.snapshots if any(offered[day] is part for day in used)]
    for part in parts:
        _stage(lake, backend, part, [key, *names], [day for day in used if offered[day] is part])
    label_tables = find_partitions(lake, label.tables, chosen.label_day)
    label_origins = _add_labels(backend, lake, key, label, used, label_tables)
    return Staged(
        key=key,
        time=FEATURE_DATE,
        features=tuple(names),
        categories=tuple(categories),
        splits=splits,
        left_out=list_left_out(dates, chosen.last_day, label.days, splits),
        dates=tuple(dates),
        definition_sha256=described.definition_sha256,
        snapshot_date=chosen.label_day,
        source={
            "kind": "features",
            "of": name_source(source),
            "feature_set": source.feature_set,
            "snapshots": source.snapshots,
            "snapshot_dates": [part.day for part in chosen.snapshots],
            "last_day": chosen.last_day.isoformat(),
        },
        read_from={
            "features": [{"folder": part.folder, "run_id": part.manifest.run_id} for part in parts],
            "label": {
                "function": label.function,
                "tables": {name: table.reference for name, table in label.tables.items()},
                "snapshot_date": chosen.label_day,
            },
        },
        origins={
            **copy_columns(described.manifest.asset, [key, *names]),
            FEATURE_DATE: [(described.manifest.asset, described.time)],
            **label_origins,
        },
        personal=map_personal([described.manifest, *(manifest for _, manifest in label_tables.values())]),
    )


def _list_dates(lake: Lake, backend: Backend, part: Snapshot) -> list[date]:
    """All dates that a snapshot has rows of."""
    if not part.is_of_events:
        return [date.fromisoformat(day) for day in part.manifest.facts["feature_dates"]]
    with _scanned(lake, part) as scan:
        sql = f"SELECT DISTINCT {part.day_of_row} FROM {scan} ORDER BY ALL"  # noqa: S608 - quoted
        return [row[0] for row in backend.con.execute(sql).fetchall() if row[0] is not None]


def _stage(lake: Lake, backend: Backend, part: Snapshot, columns: Sequence[str], dates: Sequence[date]) -> None:
    """Add a snapshot's rows of some dates to the table of all features."""
    listed = ", ".join([f"{quote(columns[0])}", f"{part.day_of_row} AS {FEATURE_DATE}", *map(quote, columns[1:])])
    with _scanned(lake, part) as scan:
        select = f"SELECT {listed} FROM {scan}"  # noqa: S608 - quoted
        backend.con.execute(f"CREATE TABLE IF NOT EXISTS {_STAGED} AS {select} LIMIT 0")
        wanted = f"{part.day_of_row} IN (SELECT unnest(?::DATE[]))"
        backend.con.execute(f"INSERT INTO {_STAGED} {select} WHERE {wanted}", [list(dates)])


@contextmanager
def _scanned(lake: Lake, part: Snapshot) -> Iterator[str]:
    with ExitStack() as stack:
        paths = list_data_paths(part.folder, part.manifest)
        yield build_scan([str(stack.enter_context(lake.local_copy(path))) for path in paths])


def _add_labels(
    backend: Backend, lake: Lake, key: str, label: LabelSpec, dates: Sequence[date], tables: Partitions
) -> dict[str, list[Origin]]:
    """Make ROWS of the features and their labels; where the function says nothing the label is 0.

    Returns:
        What the label is made of, where that can be told.
    """
    assert label.function is not None  # noqa: S101 - the declaration was checked
    with attached(lake, backend, tables) as opened:
        with _explained(label.function, opened):
            found = load_function(label.function)(**opened, feature_dates=make_dates(dates), days=label.days)
            columns = found.schema().to_pyarrow()
        require_columns(f"the result of {label.function}", columns.names, [key, FEATURE_DATE, "label"])
        require_numeric(f"The result of {label.function}", columns.field("label"))
        with _explained(label.function, opened):
            labels = found.select(key, FEATURE_DATE, label=found["label"].cast("float64"))
            backend.create_table(_LABELS, labels)
            traced = trace_expression(labels, {name: table.columns for name, table in opened.items()})
    keys = f"{quote(key)}, {FEATURE_DATE}"
    total, distinct = fetch_row(
        backend.con,
        f"SELECT count(*), (SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {_LABELS})) FROM {_LABELS}",  # noqa: S608
    )
    if total != distinct:
        raise DuplicateLabels(label.function, key, total - distinct)
    joined = f"f.{quote(key)} = l.{quote(key)} AND f.{FEATURE_DATE} = CAST(l.{FEATURE_DATE} AS DATE)"
    backend.con.execute(
        f"CREATE TABLE {ROWS} AS SELECT f.*, CASE WHEN l.{quote(key)} IS NULL THEN 0.0 ELSE l.label END "  # noqa: S608
        f"AS {quote(label.name)} FROM {_STAGED} f LEFT JOIN {_LABELS} l ON {joined}"
    )
    backend.con.execute(f"DROP TABLE {_STAGED}")
    backend.con.execute(f"DROP TABLE {_LABELS}")
    of_label = {label.name: traced["label"]} if "label" in traced else {}
    return name_assets(of_label, {name: manifest.asset for name, (_, manifest) in tables.items()})


@contextmanager
def _explained(function: str, tables: Mapping[str, Table]) -> Iterator[None]:
    try:
        yield
    except AdfmlError:
        raise
    except Exception as error:  # whatever a function of the user's raises: it is told with what there is
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
        raise LabelFailed(function, reason, {name: table.columns for name, table in tables.items()}) from error
