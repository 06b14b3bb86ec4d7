"""Where a model's training data comes from, and what is predicted: parts of `TrainedModel`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.components.declaration import STRICT
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.features.definition import TableRef
from adfml_assets.training.errors import PeriodInvalid
from adfml_assets.training.spec import FeaturesSource, LabelSpec, QuerySource, parse_period

_MOST_DAYS = 36_500
_DOTS = 2  # of database.schema.table


@dataclass
class FromFeatures(dg.Resolvable):
    """Features of a feature set, with a label that is made of archived tables.

    Attributes:
        feature_set: its name.
        snapshots: `newest`: one snapshot with all its feature dates. `each`: every snapshot gives the rows of its own
            feature date alone, so that a row holds what was known then, also where the source changed it later.
        start_date, end_date: the first and last feature date to use, YYYY-MM-DD (the pipeline's StartDate, EndDate).
        most_categories: how many categories of a category column become columns; the others are counted in `other`.
        validation_dates, test_dates: how many feature dates, the newest ones, each of the two splits has.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    feature_set: str
    snapshots: Literal["newest", "each"] = "newest"
    start_date: str | None = None
    end_date: str | None = None
    most_categories: int = 30
    validation_dates: int = 1
    test_dates: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        what = f"Training data from {self.feature_set}"
        _require_period(what, self.start_date, self.end_date)
        _require_counts(what, self, "most_categories", "validation_dates", "test_dates")

    def build_spec(self) -> FeaturesSource:
        """What the training data is made by."""
        return FeaturesSource(
            feature_set=self.feature_set,
            snapshots=self.snapshots,
            period=parse_period(self.feature_set, self.start_date, self.end_date),
            most_categories=self.most_categories,
            validation_dates=self.validation_dates,
            test_dates=self.test_dates,
        )


@dataclass
class FromQuery(dg.Resolvable):
    """Rows of a table or view of a source database, label and all (the pipeline's ArchiveTrainingData).

    Attributes:
        table: `database.schema.table`.
        key: the column that says whose row it is.
        time: the column with the date (or moment, UTC) that the features were true at.
        where: a SQL condition in the server's own words; rows for which it does not hold are not used.
        features: the columns to learn from, in the model's order; without it every column of numbers that is neither
            key, time nor label, in the table's order.
        start_date, end_date: the first and last day of `time`, YYYY-MM-DD, both whole (StartDate, EndDate).
        validation_dates, test_dates: how many days with rows, the newest ones, each of the two splits has.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    table: str
    key: str
    time: str
    where: str | None = None
    features: Sequence[str] | None = None
    start_date: str | None = None
    end_date: str | None = None
    validation_dates: int = 1
    test_dates: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        what = f"Training data from {self.table}"
        if self.table.count(".") < _DOTS and "{{" not in self.table:
            raise DeclarationInvalid(what, "table", self.table, "database.schema.table, such as shop.dbo.Sales")
        _require_period(what, self.start_date, self.end_date)
        _require_counts(what, self, "validation_dates", "test_dates")
        if self.features is not None:
            doubled = sorted({name for name in self.features if list(self.features).count(name) > 1})
            if doubled or not self.features:
                raise DeclarationInvalid(what, "features", doubled or [], "names of columns, each of them once")
            if self.key in self.features or self.time in self.features:
                raise DeclarationInvalid(what, "features", list(self.features), "no key and no time among the features")

    def build_spec(self) -> QuerySource:
        """What the training data is made by."""
        return QuerySource(
            table=self.table,
            key=self.key,
            time=self.time,
            where=self.where,
            features=tuple(self.features) if self.features is not None else None,
            period=parse_period(self.table, self.start_date, self.end_date),
            validation_dates=self.validation_dates,
            test_dates=self.test_dates,
        )


@dataclass
class LabelTable(dg.Resolvable):
    """A table that a label is made of.

    Attributes:
        table: archived table as `database.schema.table`.
        state: `snapshot`: a day's full snapshot; `current`: the state as of a day, put together from full snapshots
            and incremental extracts.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    table: str
    state: Literal["snapshot", "current"] = "snapshot"


def _resolve_tables(context: dg.ResolutionContext, tables: Mapping[str, Any]) -> dict[str, LabelTable | str]:
    return {
        name: table if isinstance(table, str) else LabelTable.resolve_from_model(context.at_path(name), table)
        for name, table in tables.items()
    }


_TABLES_IN_YAML: Any = dict[str, LabelTable.model() | str]  # type: ignore[misc]  # a class that is made here
_TABLES = dg.Resolver(_resolve_tables, model_field_type=_TABLES_IN_YAML)


@dataclass
class Label(dg.Resolvable):
    """What the model predicts: made by a function (`from_features`), or a column of the table (`from_query`).

    Attributes:
        days: how far the label looks ahead of its row's date. Rows whose days are not all in the data are not used.
        baseline: a feature that is itself a naive forecast; the model has to beat it.
        name: of the label's column, with `function`.
        function: `package.module.function`: takes `tables`, `feature_dates` and `days`, gives key, feature_date, label.
        tables: name in the function -> archived table as `database.schema.table`, or with its `state`; all of it, cut
            nowhere.
        column: the table's column that holds the label.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    days: int
    baseline: str
    name: str | None = None
    function: str | None = None
    tables: Annotated[Mapping[str, LabelTable | str], _TABLES] = field(default_factory=dict)
    column: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        if not 0 <= self.days <= _MOST_DAYS:
            raise DeclarationInvalid("Label", "days", self.days, f"a number of days, 0 to {_MOST_DAYS}")
        if (self.column is None) == (self.function is None):
            raise DeclarationInvalid("Label", "column", self.column, "a column (from_query) or a function, one of both")
        if self.function is not None and self.name is None:
            raise DeclarationInvalid("Label", "name", None, "the name of the column that the function's label becomes")
        for name, given in self.tables.items():
            reference = given.table if isinstance(given, LabelTable) else given
            if reference.count(".") < _DOTS and "{{" not in reference:
                raise DeclarationInvalid("Label", f"tables.{name}", reference, "database.schema.table")
        if self.column is not None and (self.name is not None or self.tables):
            raise DeclarationInvalid("Label", "column", self.column, "no name and no tables beside a column")

    def build_spec(self) -> LabelSpec:
        """What the label is made by."""
        name = self.column or self.name
        assert name is not None  # noqa: S101 - one of both, see above
        tables = {
            name: TableRef(given.table, state=given.state) if isinstance(given, LabelTable) else TableRef(given)
            for name, given in self.tables.items()
        }
        return LabelSpec(name, self.function, self.days, self.baseline, tables)


def choose_source(
    what: str, from_features: FromFeatures | str | None, from_query: FromQuery | None, label: Label
) -> FromFeatures | FromQuery:
    """The one source that is declared, if the label fits it. A name alone is a feature set with its newest snapshot.

    Raises:
        DeclarationInvalid: none or both are, or the label is of the other kind.
    """
    if (from_features is None) == (from_query is None):
        found = "neither" if from_query is None else "both"
        raise DeclarationInvalid(what, "from_features", found, "from_features or from_query, one of both")
    if from_query is not None:
        if label.column is None:
            raise DeclarationInvalid(what, "label.function", label.function, "label.column: from_query reads the label")
        if label.column in {from_query.key, from_query.time, *(from_query.features or ())}:
            raise DeclarationInvalid(what, "label.column", label.column, "neither key nor time nor a feature")
        return from_query
    if label.function is None:
        raise DeclarationInvalid(what, "label.column", label.column, "label.function and label.name (from_features)")
    return from_features if isinstance(from_features, FromFeatures) else FromFeatures(str(from_features))


def _require_period(what: str, start: str | None, end: str | None) -> None:
    try:
        parse_period(what, start, end)
    except PeriodInvalid as error:
        raise DeclarationInvalid(what, error.field, error.found, error.expected) from None


def _require_counts(what: str, declared: object, *fields: str) -> None:
    for name in fields:
        if (value := getattr(declared, name)) < 1:
            raise DeclarationInvalid(what, name, value, "a number of at least 1")
