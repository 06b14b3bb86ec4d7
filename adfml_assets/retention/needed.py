"""What is needed, whatever a rule says: by model versions in use, by remote jobs, by runs, by a table's whole state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote

from adfml_assets import lake_layout
from adfml_assets.archived_partitions import parse_reference
from adfml_assets.asset_keys import model_key
from adfml_assets.retention.series import Series
from resources.manifest import FILE_NAME, Manifest, read_manifest
from resources.model_versions import CHAMPION
from sensors.waiting import PARTITION_TAG

if TYPE_CHECKING:
    import dagster as dg

    from resources.control import ControlDatabase
    from resources.lake import Lake

CLAIM_AGE = timedelta(days=1)
_TRAINED_ON = "ml/training-data"


def find_needed_folders(lake: Lake, control: ControlDatabase) -> dict[str, str]:
    """Folder -> why it is needed: what the training data of versions in use was made of.

    In use are versions with an alias, every version that was champion once (a rollback may return to it), those the
    gate has not judged, and those a remote job is under way for.
    """
    needed: dict[str, str] = {}
    for model, version in _list_versions_in_use(lake, control):
        manifest = read_manifest(lake, lake_layout.training_data_folder(model, version))
        if manifest is not None:
            why = f"the training data of {model} version {version}, which is in use, was made of it"
            needed.update(dict.fromkeys(_list_sources(manifest), why))
    return needed


def find_needed_days(control: ControlDatabase, instance: dg.DagsterInstance) -> dict[str, str]:
    """Day -> why all its partitions are needed: remote jobs and runs that have not ended are of it."""
    from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunsFilter

    days = {}
    for run in instance.get_runs(RunsFilter(statuses=NOT_FINISHED_STATUSES)):
        for day in _list_days(run.tags):
            days[day] = f"run {run.run_id} of that day has not ended"
    for asset, partition in control.ledger.list_awaited() | control.ledger.list_uncollected():
        days[partition] = f"the remote job of {asset} {partition} is open or its result not collected"
    return days


def find_claimed(control: ControlDatabase, now: datetime) -> set[tuple[str, str]]:
    """(asset, partition) that somebody may be writing."""
    return control.claims.list_open(now - CLAIM_AGE)


def find_state_days(series: Iterable[Series], going: Mapping[str, set[str]]) -> dict[str, str]:
    """Folder of a table's increments -> the day of its newest full snapshot that stays, or "" without one.

    Increments up to that day are in the snapshot; those since then, and all of a table without one, are the only ones
    that have the rows.
    """
    by_folder = {one.folder: one for one in series}
    found = {}
    for folder in by_folder:
        if not folder.startswith("incremental/"):
            continue
        archive = by_folder.get("archive/" + folder.removeprefix("incremental/"))
        staying = [] if archive is None else [d for d in archive.folders if d not in going.get(archive.folder, set())]
        found[folder] = max(staying, default="")
    return found


def _list_days(tags: Mapping[str, str]) -> list[str]:
    """The days of a run: one, or a range."""
    first = tags.get(PARTITION_TAG) or tags.get("dagster/asset_partition_range_start")
    last = tags.get(PARTITION_TAG) or tags.get("dagster/asset_partition_range_end")
    if first is None or last is None:
        return []
    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        return [first, last]  # versions
    return [(begin + timedelta(days=n)).isoformat() for n in range((end - begin).days + 1)]


def _list_versions_in_use(lake: Lake, control: ControlDatabase) -> set[tuple[str, str]]:
    models = control.models
    used = set()
    for model in models.list_models():
        used |= {(model, version) for version in models.aliases(model).values()}
        champions = (change.version for change in models.list_changes(model) if change.alias == CHAMPION)
        used |= {(model, version) for version in champions if version is not None}
        used |= {(model, known.version) for known in models.list_versions(model) if known.verdict is None}
    open_jobs = control.ledger.list_awaited() | control.ledger.list_uncollected()
    return used | {one for one in _list_trained_on(lake) if (model_key(one[0]).to_user_string(), one[1]) in open_jobs}


def _list_trained_on(lake: Lake) -> set[tuple[str, str]]:
    """Models and versions that have training data: an asset's key does not say a model's name, its folder does."""
    paths = (path.removeprefix(f"{_TRAINED_ON}/").split("/") for path in lake.list_files(_TRAINED_ON))
    return {
        (unquote(parts[0]), unquote(parts[1].removeprefix("version="))) for parts in paths if parts[-1] == FILE_NAME
    }


def _list_sources(manifest: Manifest) -> Iterable[str]:
    for part in manifest.source.get("features") or ():
        yield part["folder"]
    # Also those of which no row was used: made again, the version asks for each of them.
    source = manifest.facts.get("source") or {}
    for day in source.get("snapshot_dates") or ():
        yield lake_layout.features_folder(str(source["feature_set"]), str(day))
    label = manifest.source.get("label") or {}
    for reference in (label.get("tables") or {}).values():
        place, day = parse_reference(reference), str(label.get("snapshot_date"))
        yield lake_layout.archive_folder(*place, day)
        yield lake_layout.current_folder(*place, day)
