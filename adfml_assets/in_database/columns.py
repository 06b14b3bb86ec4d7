"""The columns of a compiled query, in levels: each level is a query over the one below, and reads only its columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.sql import Name, Piece, Sql, any_of, build, build_case

Kind = Literal["number", "text"]

OVERFLOWS_FLOAT32 = 3.4028235677973366e38
"""The smallest float64 that is infinity as a float32: scikit-learn refuses a row with it where it uses float32."""

TAME = 1e37
"""What is not larger is finite as a float32, too."""

USUAL = 2.0**53
"""Numbers up to it are of usual size: whole ones are exact as float64."""


@dataclass(frozen=True)
class Feature:
    """A column of the table, not read yet: as a number or as a text is up to the step that takes it.

    Attributes:
        position: its place among the model's features.
    """

    position: int


@dataclass(frozen=True)
class Column:
    """A value of a row as a step has left it. NULL stands for NaN, or for a missing text.

    Attributes:
        name: the query's column with it.
        kind: number (float64) or text.
        infinite: where it is infinity in Python; the column then has the largest number of that sign. None: nowhere.
        most: it is never NULL, and never larger than this, or smaller than its negative; infinity: nothing is known.
        sparse: of a sparse matrix in Python, in which classical trees take no missing values.
    """

    name: Name
    kind: Kind = "number"
    infinite: Sql | None = None
    most: float = math.inf
    sparse: bool = False

    @property
    def tame(self) -> bool:
        """Whether there is no need to look at it: it is there, and of moderate size."""
        return self.most <= TAME


Input = Feature | Column


@dataclass
class Query:
    """A query that grows while a model is compiled.

    Args:
        features: the model's features, which are columns of the table.
        most: see `Column.most`, of the features that are read as numbers.

    Attributes:
        numbers, texts: column -> position of the feature it reads.
        levels: column -> its level; features are of level 0.
        definitions: column -> its expression, over columns of lower levels.
        refusals: columns that are 1 where Python refuses a row, or gives no finite score.
        missing: position of a text feature -> what stands for a missing text in Python.
    """

    features: Sequence[str]
    numbers: dict[Name, int] = field(default_factory=dict)
    texts: dict[Name, int] = field(default_factory=dict)
    levels: dict[Name, int] = field(default_factory=dict)
    definitions: dict[Name, Sql] = field(default_factory=dict)
    refusals: list[Name] = field(default_factory=list)
    missing: dict[int, float | None] = field(default_factory=dict)
    most: float = math.inf

    def define(self, *pieces: Piece) -> Name:
        """Make an expression a column, so that what uses it several times does not compute it several times."""
        expression = build(*pieces)
        name = Name(f"v{len(self.definitions)}")
        self.levels[name] = 1 + max((self.levels[used] for used in expression.names), default=0)
        self.definitions[name] = expression
        return name

    def bound(self, column: Column) -> float:
        """`Column.most` where all numbers are of usual size; else infinity: what is computed may become too small."""
        return column.most if self.most < math.inf else math.inf

    def read_number(self, value: Input, where: str, finite: bool = True) -> Column:
        """A value as a number.

        Args:
            where: the step that takes it.
            finite: the step refuses infinity, as nearly all do. NaN is up to the step.

        Raises:
            CannotCompile: it is a text.
        """
        if isinstance(value, Feature):
            name = Name(f"f{value.position}")
            self.numbers[name] = value.position
            self.levels[name] = 0
            return Column(name, most=self.most)
        if value.kind != "number":
            raise CannotCompile("a text where a number is needed", where)
        if finite and value.infinite is not None:
            self.refuse([value.infinite])
        return value

    def read_text(self, value: Input, where: str) -> Column:
        """A value as a text.

        Raises:
            CannotCompile: it is a number.
        """
        if isinstance(value, Feature):
            name = Name(f"t{value.position}")
            self.texts[name] = value.position
            self.levels[name] = 0
            return Column(name, "text")
        if value.kind != "text":
            raise CannotCompile("a number where a text is needed", where)
        return value

    def note_missing(self, value: Input, where: str, marker: float | None) -> None:
        """Note what stands for a missing text in Python: None or NaN. They are the same NULL here.

        Raises:
            CannotCompile: another step takes the other one for it.
        """
        if isinstance(value, Feature):
            known = self.missing.setdefault(value.position, marker)
            if (known is None) != (marker is None):
                raise CannotCompile("a step that knows another sign for missing texts than the step before", where)

    def refuse(self, conditions: Iterable[Piece]) -> None:
        """Give no score to the rows where one of the conditions holds."""
        given = list(conditions)
        if given:
            self.refusals.append(self.define(build_case([(any_of(given), 1.0)])))

    def refuse_missing(self, columns: Sequence[Column]) -> None:
        """Give no score where a column is NULL."""
        self.refuse(build(one.name, " IS NULL") for one in columns if not one.tame)

    def refuse_beyond_float32(self, columns: Sequence[Column]) -> None:
        """Give no score where a column is infinity as a float32."""
        bound = OVERFLOWS_FLOAT32
        self.refuse(build("ABS(", one.name, ") >= ", bound) for one in columns if not one.tame)
