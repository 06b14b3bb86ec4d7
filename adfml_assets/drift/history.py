"""The drift of a model's earlier days, as it lies in the lake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from adfml_assets import lake_layout
from adfml_assets.drift.report import FILE
from resources.lake import Lake
from resources.manifest import FILE_NAME as MANIFEST_FILE
from resources.manifest import Manifest, read_manifest


@dataclass(frozen=True)
class PastDay:
    """What was found of one day: feature (or `score`) -> PSI; None where it could not be told."""

    day: str
    version: str | None
    psi: dict[str, float | None]


def iterate_manifests(lake: Lake, model: str, until: str | None = None) -> Iterator[Manifest]:
    """The manifests of a model's drift partitions, the latest day first.

    Args:
        until: the last day; None: all there are.
    """
    folder = lake_layout.drift_folder(model, "x").removesuffix("/x")
    suffix = f"/{MANIFEST_FILE}"
    paths = [path for path in lake.list_files(folder) if path.endswith(suffix)]
    days = sorted(path.removeprefix(f"{folder}/").removesuffix(suffix).replace("/", "-") for path in paths)
    for day in reversed(days):
        if until is not None and day > until:
            continue
        manifest = read_manifest(lake, lake_layout.drift_folder(model, day))
        if manifest is not None:
            yield manifest


def read_history(lake: Lake, model: str, until: str, last: int) -> list[PastDay]:
    """The last days up to one, oldest first; days without records are left out."""
    with_records = (one for one in iterate_manifests(lake, model, until) if one.rows)
    days = []
    for manifest in islice(with_records, last):
        path = f"{lake_layout.drift_folder(model, manifest.partition)}/{FILE}"
        table = lake.read_table(path, ["feature", "psi"])
        psi = dict(zip(table["feature"].to_pylist(), table["psi"].to_pylist(), strict=True))
        days.append(PastDay(manifest.partition, manifest.facts.get("version"), psi))
    return days[::-1]


def list_counted(lake: Lake, model: str, version: str, since: datetime | None, last: int, look: int) -> list[Manifest]:
    """The last days with records that one version scored and that were compared since a moment, the latest first.

    Args:
        since: when the version became what it is now, UTC; None: whenever.
        last: how many days.
        look: how many days are looked at for them.
    """
    counted = (
        manifest
        for manifest in islice(iterate_manifests(lake, model), look)
        if manifest.rows
        and manifest.facts.get("version") == version
        and (since is None or manifest.written_at >= since)
    )
    return list(islice(counted, last))
