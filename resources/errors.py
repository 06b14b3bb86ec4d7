"""The errors of this package: one family, each with its facts as attributes."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from resources.help import DocumentedError


class ResourceError(DocumentedError):
    """Something outside could not be reached, or is not as declared."""


class SettingMissing(ResourceError):
    """A setting that is needed now is not in the environment."""

    def __init__(self, setting: str, purpose: str, example: str) -> None:
        self.setting = setting
        self.purpose = purpose
        self.example = example
        super().__init__(f"{setting} is not set: {purpose}, for example {example}.")


class SettingInvalid(ResourceError):
    """A setting is there, but cannot be what it should be."""

    def __init__(self, setting: str, expected: str) -> None:
        self.setting = setting
        self.expected = expected
        super().__init__(f"{setting} is not valid: expected {expected}.")


class Unreachable(ResourceError):
    """A database or service did not answer at its address."""

    def __init__(self, service: str, address: str, reason: str, check: str) -> None:
        self.service = service
        self.address = address
        self.reason = reason
        self.check = check
        super().__init__(f"{service} at {address} cannot be reached ({reason}). Check {check}.")


class Refused(ResourceError):
    """A service answered, and said no: trying again will not help."""

    def __init__(self, service: str, address: str, reason: str, check: str) -> None:
        self.service = service
        self.address = address
        self.reason = reason
        self.check = check
        super().__init__(f"{service} at {address} refused: {reason}. Check {check}.")


class NotFound(ResourceError):
    """A table, column, job or file that was named does not exist."""

    def __init__(self, kind: str, name: str, where: str, existing: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.where = where
        self.existing = sorted(existing)
        close = get_close_matches(name, self.existing, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        shown = ", ".join(self.existing[:40]) or "none"
        more = f" and {len(self.existing) - 40} more" if len(self.existing) > 40 else ""
        super().__init__(f"There is no {kind} {name!r} in {where}. It has: {shown}{more}.{hint}")


class UnsafePath(ResourceError):
    """A path that would leave the lake."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path!r} is not a path inside the lake: expected container/folder/file without '..' parts.")


class Corrupt(ResourceError):
    """A file is not what its manifest says."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        self.path = path
        self.expected = expected
        self.found = found
        super().__init__(
            f"{path} is not what its manifest says: expected {expected}, found {found}. "
            "Materialise the partition that wrote it again."
        )


class JobOutstanding(ResourceError):
    """A partition's remote job is still under way, and something else was asked for."""

    def __init__(self, submission_key: str, url: str | None) -> None:
        self.submission_key = submission_key
        self.url = url
        super().__init__(
            f"Remote job {submission_key} is still under way ({url or 'not yet started'}), with other parameters or "
            "beside one that failed. "
            "Cancel it (cancel the run that waits for it), or wait until it has ended."
        )


class NotAdopted(ResourceError):
    """A job at a service cannot be taken up as an asset's: it is another job, or its result could not be told."""

    def __init__(self, asset: str, partition: str, remote_id: str, reasons: Iterable[str]) -> None:
        self.asset = asset
        self.partition = partition
        self.remote_id = remote_id
        self.reasons = tuple(reasons)
        lines = "\n".join(f"- {reason}." for reason in self.reasons)
        super().__init__(
            f"Job {remote_id} is not adopted for {asset}, partition {partition}; nothing was changed:\n{lines}"
        )


class QuotaExceeded(ResourceError):
    """A service has no room for a job now: it was not taken, and is to be sent again later."""

    def __init__(self, service: str, address: str, reason: str) -> None:
        self.service = service
        self.address = address
        self.reason = reason
        super().__init__(f"{service} at {address} has no room now: {reason}. The job stays queued and is sent again.")


class OutcomeUnknown(ResourceError):
    """A submission was sent and no answer came: it may or may not have been accepted."""

    def __init__(self, submission_key: str, service: str, reason: str) -> None:
        self.submission_key = submission_key
        self.service = service
        self.reason = reason
        super().__init__(
            f"No answer from {service} to the submission of {submission_key} ({reason}). It stays in the ledger as "
            "'submitting'; the sensor finds or repeats it under the same key, so that it runs once. "
            "Materialise the asset again to go on."
        )


class ConnectionLost(Unreachable):
    """A connection was cut while rows were read: worth another try from the start."""


class NotPermitted(ResourceError):
    """The login may not read a table."""

    def __init__(self, table: str, reason: str, grant: str) -> None:
        self.table = table
        self.reason = reason
        self.grant = grant
        super().__init__(f"{table} may not be read ({reason}). Let an administrator run: {grant}")


class UnsupportedColumn(ResourceError):
    """A column of a type that has no exact counterpart in Parquet here."""

    def __init__(self, table: str, column: str, source_type: str) -> None:
        self.table = table
        self.column = column
        self.source_type = source_type
        super().__init__(
            f"{table}.{column}: type {source_type} has no exact Parquet type. Give the column a declared type, or "
            "archive a view that casts it."
        )


class UnexpectedValue(ResourceError):
    """A value that is not of its column's declared type."""

    def __init__(self, table: str, column: str, expected: str, reason: str) -> None:
        self.table = table
        self.column = column
        self.expected = expected
        self.reason = reason
        super().__init__(
            f"{table}.{column}: a value is not of the declared type, expected {expected} ({reason}). Correct the value "
            "at the source, leave the column out, archive a view that casts it, or on SQLite set `mismatches: keep`."
        )


class StorageFull(ResourceError):
    """The lake's disk, or its quota, has no room left."""

    def __init__(self, where: str, address: str, reason: str) -> None:
        self.where = where
        self.address = address
        self.reason = reason
        super().__init__(
            f"{where} could not be written to {address}: {reason}. Nothing of it is visible. Make room in the lake or "
            "raise its limit, then materialise the partition again."
        )


class IntervalsDiffer(ResourceError):
    """An interval that the lake has is recorded otherwise."""

    def __init__(self, source: str, in_lake: str, recorded: str) -> None:
        self.source = source
        self.in_lake = in_lake
        self.recorded = recorded
        super().__init__(
            f"{source}: the lake has ({in_lake}), recorded is ({recorded}). Nothing of this table was changed since. "
            "Decide which is right: delete the table's rows in ArchiveWatermark to take the lake's, or the partition's "
            "folder in the lake to keep those recorded."
        )
