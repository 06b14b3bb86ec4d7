"""The daily partitions in the lake, asset by asset, found by one listing a container."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from resources.lake import CONTAINERS, Lake
from resources.manifest import FILE_NAME, read_manifest

_FOLDER = re.compile(r"(?P<series>.+?)/(?:snapshot_date=(?P<day>\d{4}-\d\d-\d\d)|(?P<path>\d{4}/\d\d/\d\d))")


@dataclass(frozen=True)
class Series:
    """The whole daily partitions of one asset.

    Attributes:
        asset: its key, as its manifests have it.
        folder: what is common to its partitions' folders.
        folders: day -> folder, days ascending.
    """

    asset: str
    folder: str
    folders: dict[str, str]


def list_series(lake: Lake) -> list[Series]:
    """Every asset with daily partitions, by folder. Versions (training data, models) are no days and never listed.

    Raises:
        Corrupt: the newest manifest of an asset cannot be read.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for container in CONTAINERS:
        for path in lake.list_files(container):
            if path.endswith(f"/{FILE_NAME}") and (parts := split_folder(path.removesuffix(f"/{FILE_NAME}"))):
                found[parts[0]][parts[1]] = path.removesuffix(f"/{FILE_NAME}")
    series = []
    for folder, days in sorted(found.items()):
        ordered = dict(sorted(days.items()))
        manifest = read_manifest(lake, ordered[max(ordered)])
        if manifest is not None:
            series.append(Series(manifest.asset, folder, ordered))
    return series


def split_folder(folder: str) -> tuple[str, str] | None:
    """(folder of the series, day) of a daily partition's folder; None: it is none."""
    parts = _FOLDER.fullmatch(folder)
    return None if parts is None else (parts["series"], parts["day"] or parts["path"].replace("/", "-"))
