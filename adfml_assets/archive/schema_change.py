"""How the columns of an archived table differ from those it had before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SchemaChange:
    """How a table's columns differ from those it had before.

    Attributes:
        added: name -> type.
        removed: name -> the type it had.
        retyped: name -> (type before, type now).
    """

    added: Mapping[str, str]
    removed: Mapping[str, str]
    retyped: Mapping[str, tuple[str, str]]

    @property
    def breaks(self) -> bool:
        """Whether readers of the old columns would fail or read something else."""
        return bool(self.removed or self.retyped)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.added or self.breaks)

    def describe(self) -> str:
        """The difference, one line a column; empty where there is none."""
        lines = [f"+ {name} {kind}" for name, kind in self.added.items()]
        lines += [f"- {name} {kind}" for name, kind in self.removed.items()]
        lines += [f"~ {name} {before} -> {after}" for name, (before, after) in self.retyped.items()]
        return "\n".join(lines)


def compare_columns(before: Mapping[str, str], after: Mapping[str, str]) -> SchemaChange:
    """The difference of two schemas, each as name -> type. The order of columns does not count."""
    return SchemaChange(
        added={name: kind for name, kind in after.items() if name not in before},
        removed={name: kind for name, kind in before.items() if name not in after},
        retyped={name: (before[name], kind) for name, kind in after.items() if before.get(name, kind) != kind},
    )
