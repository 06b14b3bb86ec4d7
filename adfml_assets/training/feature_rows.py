"""Rows to train on from a feature set's snapshots, with labels made of archived tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from adfml_assets import lake_layout
from adfml_assets.archive.current import build_scan, quote
from adfml_assets.archived_partitions import parse_reference, require_partition
from adfml_assets.asset_keys import features_key
from adfml_assets.errors import NothingArchived
from adfml_assets.features.definition import FEATURE_DATE, TableRef
from adfml_assets.features.expressions import load_function, make_dates, require_columns
from adfml_assets.features.sources import find_partitions
from adfml_assets.training.choice import Choice, name_source, require_whole_windows
from adfml_assets.training.columns import (
    check_features,
    read_schema,
    require_numeric,
    require_other_names,
    require_rows,
)
from adfml_assets.training.errors import DuplicateLabels, SnapshotsDiffer
from adfml_assets.training.feature_lists import describe_difference
from adfml_assets.training.spec import FeaturesSource, LabelSpec
from adfml_assets.training.splits import list_left_out, split_dates
from adfml_assets.training.workspace import ROWS, Partitions, Staged, attached, fetch_row
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import FILE_NAME, Manifest, list_data_paths

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

_STAGED, _LABELS = "adfml_features", "adfml_labels"


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a feature set: its partition, and where it is in the lake."""

    day: str
    folder: str
    manifest: Manifest

    @property
    def own_date(self) -> date | None:
        """The date that it alone is of."""
        if self.is_of_events:
            return date.fromisoformat(self.day)
        stated = self.manifest.facts["feature_date"]
        return date.fromisoformat(stated) if stated else None

    @property
    def last_day(self) -> date:
        """The last day of the data that it was made from."""
        stated = self.manifest.facts["last_event"]
        return datetime.fromisoformat(stated).date() if stated else date.fromisoformat(self.day)

    @property
    def is_of_events(self) -> bool:
        """Whether it has a row an event; else a row a key and feature date."""
        return bool(self.manifest.facts.get("rows") == "event")

    @property
    def day_of_row(self) -> str:
        """The SQL of a row's date."""
        column = self.manifest.facts["event_time"] if self.is_of_events else FEATURE_DATE
        return f"CAST({quote(str(column))} AS DATE)"

    @property
    def features(self) -> list[str]:
        """Its features, in order."""
        facts = self.manifest.facts
        others = {facts["key"], FEATURE_DATE, facts.get("event_time")}
        return list(facts.get("features") or [c.name for c in self.manifest.columns if c.name not in others])

    @property
    def definition_sha256(self) -> str:
        """The identity of its definition."""
        return str(self.manifest.facts.get("definition_sha256") or "")


@dataclass(frozen=True)
class Chosen:
    """What is read of a feature set.

    Attributes:
        snapshots: the oldest first; all of them have the columns and the definition of the last one.
        label_day: the snapshot of the label's tables.
        last_day: the last day of the data.
        all_dates: whether every feature date of a snapshot counts, or its own alone.
    """

    snapshots: tuple[Snapshot, ...]
    label_day: str
    last_day: date
    all_dates: bool


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
        DuplicateLabels: the label's function gave several for one row.
    """
    chosen = (_choose_each if source.snapshots == "each" else _choose_newest)(lake, source, label, choice)
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
    _add_labels(backend, lake, key, label, used, find_partitions(lake, label.tables, chosen.label_day))
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
    )


def list_snapshot_days(lake: Lake, feature_set: str) -> list[str]:
    """The days a feature set has a whole snapshot of, sorted."""
    return _list_days(lake, lake_layout.feature_set_folder(feature_set))


def _list_days(lake: Lake, folder: str) -> list[str]:
    begin, end = f"{folder}/snapshot_date=", f"/{FILE_NAME}"
    paths = (path for path in lake.list_files(folder) if path.startswith(begin) and path.endswith(end))
    return sorted(path.removeprefix(begin).removesuffix(end) for path in paths)


def _choose_newest(lake: Lake, source: FeaturesSource, label: LabelSpec, choice: Choice) -> Chosen:
    """One snapshot with all its feature dates.

    Raises:
        NotFound: there is none, or not the one that is asked for.
    """
    days = _require_days(lake, source, choice.snapshot_date)
    part = _read(lake, source, choice.snapshot_date or days[-1])
    return Chosen((part,), part.day, choice.last_day or part.last_day, all_dates=True)


def _choose_each(lake: Lake, source: FeaturesSource, label: LabelSpec, choice: Choice) -> Chosen:
    """All snapshots up to the one that is asked for; of those of one date the oldest: what was known first.

    Raises:
        NotFound: there is none up to it, or one of those that the version was made from before is gone.
        NothingArchived: there is no day with a snapshot of every table of the label.
        SnapshotsDiffer: they were made by different definitions.
    """
    days = _require_days(lake, source, None)
    label_day = choice.snapshot_date or _find_label_day(lake, label) or days[-1]
    counted = [day for day in days if day <= label_day]
    for wanted in choice.snapshots or ():
        if wanted not in counted:
            raise NotFound("snapshot", wanted, f"feature set {source.feature_set}", days)
    if not counted:
        raise NotFound("snapshot", f"up to {label_day}", f"feature set {source.feature_set}", days)
    wanted_days = choice.snapshots or counted
    of_date: dict[date, Snapshot] = {}
    newest = _read(lake, source, counted[-1])
    for part in (newest if day == newest.day else _read(lake, source, day) for day in wanted_days):
        if part.own_date is not None and part.own_date in choice.period:
            of_date.setdefault(part.own_date, part)
    chosen = tuple(of_date.values()) or (newest,)
    for part in chosen[:-1]:
        _require_same_definition(source.feature_set, chosen[-1], part)
    return Chosen(chosen, label_day, choice.last_day or newest.last_day, all_dates=False)


def _require_days(lake: Lake, source: FeaturesSource, wanted: str | None) -> list[str]:
    days = list_snapshot_days(lake, source.feature_set)
    if wanted is not None and wanted not in days:
        raise NotFound("snapshot", wanted, f"feature set {source.feature_set}", days)
    if not days:
        raise NotFound("snapshot", "latest", f"feature set {source.feature_set} (materialise it first)", days)
    return days


def _find_label_day(lake: Lake, label: LabelSpec) -> str | None:
    """The newest day with a snapshot of every table of the label; None: it has no table."""
    days: list[set[str]] = []
    for table in label.tables.values():
        days.append(set(_list_days(lake, _find_folder(table))))
        if not days[-1]:
            raise NothingArchived(table.reference, "today")
    common = set.intersection(*days) if days else set()
    # Without a common day the newest of one table: that the other has none of that day is said where it is read.
    return max(common or days[0]) if days else None


def _find_folder(table: TableRef) -> str:
    names = parse_reference(table.reference)
    if table.state == "current":
        return lake_layout.current_folder(*names, "").rpartition("/")[0]
    return lake_layout.table_folder(*names)


def _read(lake: Lake, source: FeaturesSource, day: str) -> Snapshot:
    asset = features_key(source.feature_set).to_user_string()
    return Snapshot(day, *require_partition(lake, lake_layout.features_folder(source.feature_set, day), asset, day))


def _require_same_definition(feature_set: str, wanted: Snapshot, found: Snapshot) -> None:
    lists = [[f"{column.name}: {column.type}" for column in part.manifest.columns] for part in (wanted, found)]
    difference = describe_difference(*lists)
    hashes = [part.definition_sha256 for part in (wanted, found)]
    if not difference and hashes[0] != hashes[1]:
        difference = f"  The same columns, but definitions {hashes[0][:12]} and {hashes[1][:12]}."
    if difference:
        raise SnapshotsDiffer(feature_set, wanted.day, found.day, difference)


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
) -> None:
    """Make ROWS of the features and their labels; where the function says nothing the label is 0."""
    assert label.function is not None  # noqa: S101 - the declaration was checked
    with attached(lake, backend, tables) as opened:
        found = load_function(label.function)(**opened, feature_dates=make_dates(dates), days=label.days)
        require_columns(f"the result of {label.function}", found.columns, [key, FEATURE_DATE, "label"])
        require_numeric(f"The result of {label.function}", found.schema().to_pyarrow().field("label"))
        backend.create_table(_LABELS, found.select(key, FEATURE_DATE, label=found["label"].cast("float64")))
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
