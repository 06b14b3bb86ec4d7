"""A lost control database, as far as the lake has it: watermark intervals, and the versions of models."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import unquote

from adfml_assets.errors import WrongResult
from adfml_assets.training.trained import METADATA, read_metadata
from resources.control import ControlDatabase
from resources.errors import NotFound
from resources.intervals import Interval
from resources.lake import Lake
from resources.manifest import FILE_NAME, Manifest, read_manifest
from resources.model_versions import VersionRecord

_READERS = 16
_PICKLE = ".pkl"


@dataclass
class Rebuilt:
    """What was put back of one kind.

    Attributes:
        found: how many the lake has.
        restored: how many were missing, and are there now.
        left_out: what -> why it was not put back.
    """

    found: int = 0
    restored: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def present(self) -> int:
        """How many were there already."""
        return self.found - self.restored - len(self.left_out)


def rebuild_intervals(lake: Lake, control: ControlDatabase, *, kept_elsewhere: Collection[str] = ()) -> Rebuilt:
    """Record the intervals of all incremental partitions again, exactly as their manifests have them.

    It may be repeated, and stopped anywhere: an interval that is recorded stays as it is.

    Args:
        kept_elsewhere: databases whose intervals are in the source (`watermarks_in: source`), and were not lost.

    Raises:
        IntervalsDiffer: a partition's interval is recorded otherwise.
        Corrupt: a manifest cannot be read.
    """
    rebuilt, intervals = Rebuilt(), control.intervals
    manifests = [one for _, one in _read_manifests(lake, "incremental") if one.facts.get("sequence") is not None]
    for manifest in sorted(manifests, key=lambda one: (one.asset, one.facts["sequence"])):
        if manifest.source["database"] in kept_elsewhere:
            continue
        rebuilt.found += 1
        interval = Interval(
            source=".".join(str(manifest.source[part]) for part in ("database", "schema", "table")),
            partition=manifest.partition,
            lower=manifest.facts["lower"],
            upper=manifest.facts["upper"],
            sequence=int(manifest.facts["sequence"]),
            run_id=manifest.run_id,
        )
        rebuilt.restored += intervals.restore(interval, manifest.written_at, manifest.facts["watermark_kind"])
    return rebuilt


def rebuild_versions(lake: Lake, control: ControlDatabase, *, elsewhere: Collection[str] = ()) -> Rebuilt:
    """Register the versions of all models again, from what their training jobs left. Their verdicts are in no file.

    A pickle is left out: it was only ever loaded because its hash was recorded here, and a hash that is taken from
    beside the file says nothing.

    Args:
        elsewhere: models that another service than Databricks trains: Unity Catalog knows nothing of them.

    Raises:
        Corrupt: a manifest cannot be read.
    """
    rebuilt, models = Rebuilt(), control.models
    for folder, manifest in _read_manifests(lake, "ml/models"):
        # An asset's key does not say a model's name where Dagster does not take it; its folder does.
        model, version = unquote(folder.split("/")[2]), manifest.partition
        name = f"{model} version {version}"
        rebuilt.found += 1
        if models.find(model, version) is not None:
            continue
        if manifest.files[0].name.endswith(_PICKLE):
            rebuilt.left_out[name] = "a pickle is not believed without its recorded hash: train the version again"
            continue
        try:
            record = _build_record(lake, model, version, manifest, in_unity_catalog=model not in elsewhere)
        except (NotFound, WrongResult) as error:
            rebuilt.left_out[name] = str(error)
            continue
        models.register(record)
        rebuilt.restored += 1
    return rebuilt


def _build_record(lake: Lake, model: str, version: str, manifest: Manifest, *, in_unity_catalog: bool) -> VersionRecord:
    metadata, file = read_metadata(lake, model, version), manifest.files[0]
    # The manifest was written when the files were verified; metadata.json lies where the job may write.
    if (metadata.get("model_file"), metadata.get("model_sha256")) != (file.name, file.sha256):
        raise WrongResult(f"Model {model} version {version}, {METADATA}", f"{file.name} with {file.sha256}", "another")
    registered = (metadata.get("mlflow") or {}) if in_unity_catalog else {}
    return VersionRecord(
        model=model,
        version=version,
        run_id=manifest.run_id,
        submission_key=manifest.source.get("submission_key"),
        model_file=file.name,
        model_sha256=file.sha256,
        features_sha256=manifest.schema_sha256,
        metrics=dict(manifest.facts.get("metrics") or {}),
        registered_name=registered.get("registered_model_name"),
        registered_version=registered.get("registered_model_version"),
    )


def _read_manifests(lake: Lake, folder: str) -> Iterator[tuple[str, Manifest]]:
    """Every partition below a folder: its own folder, and its manifest."""
    folders = [path.rpartition("/")[0] for path in lake.list_files(folder) if path.rpartition("/")[2] == FILE_NAME]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="manifests") as pool:
        for found, manifest in zip(folders, pool.map(lambda one: read_manifest(lake, one), folders), strict=True):
            if manifest is not None:
                yield found, manifest
