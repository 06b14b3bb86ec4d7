"""The lake: each container reached, written, read and emptied again; room on its disk."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from adfml_cli.doctor.findings import Finding, Notes
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    from resources.lake import Lake

CHECK = "lake"
_NOTES = Notes(CHECK)
FOLDER = "_adfml_doctor"
"""Where probe files lie while they do, in each container: no asset's folder begins with `_`."""
_LEFT_OVER_SECONDS = 3600
_SMALL_BYTES, _FULL_BYTES = 5 * 1024**3, 512 * 1024**2


def build_probes() -> Iterator[Probe]:
    """One for the account or folder, one for each container."""
    from resources.lake import CONTAINERS

    yield Probe(CHECK, "lake", check_root)
    for container in CONTAINERS:
        yield Probe(CHECK, container, lambda step, name=container: check_container(name, step))  # type: ignore[misc]


def check_root(step: Step) -> Iterator[Finding]:
    """Where the lake is, how it is signed in to, and how much room a folder has."""
    from resources.lake_addresses import FolderAddress, read_address
    from resources.lake_credentials import read_credential

    step("reading ADFML_LAKE")
    address = read_address()
    if not isinstance(address, FolderAddress):
        step("reading the lake's credential")
        yield _NOTES.ok("lake", f"{address}, signed in to by {read_credential().origin}.")
        return
    if not address.folder.is_dir():
        yield _NOTES.warning(
            "lake",
            f"The folder {address.folder} does not exist yet; it is made when something is first written.",
            "Nothing, on a new deployment; otherwise check the path in ADFML_LAKE.",
        )
        return
    yield judge_room(address.folder, shutil.disk_usage(address.folder))


def judge_room(folder: Path, usage: tuple[int, int, int]) -> Finding:
    """Whether the lake's disk has room: total, used and free bytes, as shutil.disk_usage has them."""
    total, _, free = usage
    room = f"{free / 1e9:,.1f} GB of {total / 1e9:,.1f} GB are free on the disk of {folder}."
    advice = "Make room, or move the lake: a partition that does not fit is not written."
    if free < _FULL_BYTES:
        return _NOTES.failed("lake", room, advice)
    if free < _SMALL_BYTES:
        return _NOTES.warning("lake", room, advice)
    return _NOTES.ok("lake", room)


def check_container(container: str, step: Step) -> Iterator[Finding]:
    """Write, read and delete a file of its own."""
    from resources.lake import Lake
    from resources.lake_addresses import FolderAddress, read_address

    address = read_address()
    local = address.folder / container if isinstance(address, FolderAddress) else None
    if isinstance(address, FolderAddress) and not address.folder.is_dir():
        return  # said of the lake: a mistyped path is not made here
    lake, began = Lake(), time.monotonic()
    path, data = f"{container}/{FOLDER}/{int(time.time())}-{uuid.uuid4().hex}.txt", uuid.uuid4().bytes
    step(f"writing {path}")
    lake.write_bytes(path, data)
    try:
        step(f"reading {path}")
        found = lake.read_bytes(path)
    finally:
        step(f"deleting {path}")
        lake.delete(path)
    if found != data:
        yield _NOTES.failed(
            container, f"{path} was read otherwise than it was written.", "Check what is between: a cache, a proxy."
        )
        return
    swept = _sweep(lake, container)
    if local is not None:
        with suppress(OSError):  # another doctor's file is in it, or it is gone
            (local / FOLDER).rmdir()
    left = f" {swept} files of a doctor that was killed are gone." if swept else ""
    took = (time.monotonic() - began) * 1000
    yield _NOTES.ok(container, f"A file was written, read and deleted in {took:,.0f} ms.{left}")


def _sweep(lake: Lake, container: str) -> int:
    """Delete probe files that a killed process has left; those of one that runs now are younger."""
    old = time.time() - _LEFT_OVER_SECONDS
    count = 0
    for path in lake.list_files(f"{container}/{FOLDER}"):
        stamp = path.rpartition("/")[2].partition("-")[0]
        if stamp.isdigit() and int(stamp) < old:
            lake.delete(path)
            count += 1
    return count
