"""The snapshots of a feature set that training data is made of, and the day of the tables its label is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from adfml_assets import lake_layout
from adfml_assets.archived_partitions import parse_reference, require_partition
from adfml_assets.asset_keys import features_key
from adfml_assets.duckdb_sql import quote
from adfml_assets.errors import NothingArchived
from adfml_assets.features.definition import FEATURE_DATE, TableRef
from adfml_assets.training.choice import Choice
from adfml_assets.training.errors import SnapshotsDiffer
from adfml_assets.training.feature_lists import describe_difference
from adfml_assets.training.spec import FeaturesSource, LabelSpec
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import FILE_NAME, Manifest


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
    def time(self) -> str:
        """The column that says as of when a row is."""
        return str(self.manifest.facts["event_time"]) if self.is_of_events else FEATURE_DATE

    @property
    def day_of_row(self) -> str:
        """The SQL of a row's date."""
        return f"CAST({quote(self.time)} AS DATE)"

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


def choose_snapshots(lake: Lake, source: FeaturesSource, label: LabelSpec, choice: Choice) -> Chosen:
    """The newest snapshot, or each of them, up to the one that is asked for.

    Raises:
        NotFound: there is none, or not the one that is asked for, or one that the version was made from is gone.
        NothingArchived: a table of the label has no snapshot at all (`each`).
        SnapshotsDiffer: they were made by different definitions (`each`).
    """
    choose = _choose_each if source.snapshots == "each" else _choose_newest
    return choose(lake, source, label, choice)


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
