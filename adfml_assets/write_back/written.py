"""What a write-back did, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Written:
    """The rows of a partition by what became of them: the middle four add up to `rows`.

    Attributes:
        rows: given.
        inserted: were not there before.
        updated: were there, and differed.
        unchanged: were there just so.
        kept_newer: were left as they are because a newer partition has written them.
        marked: rows of the source whose date was set in the same transaction.
        resumed: rows of these that an earlier run had written before it ended.
        left_out: columns that were not written because the table does not have them.
        seconds: wall time.
    """

    rows: int
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    kept_newer: int = 0
    marked: int = 0
    resumed: int = 0
    left_out: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def changed(self) -> int:
        """Rows of the table that are not as they were."""
        return self.inserted + self.updated

    def add(self, other: Written) -> Written:
        """Both together."""
        return replace(
            self,
            rows=self.rows + other.rows,
            inserted=self.inserted + other.inserted,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
            kept_newer=self.kept_newer + other.kept_newer,
            marked=self.marked + other.marked,
            seconds=self.seconds + other.seconds,
        )
