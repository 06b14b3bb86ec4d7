"""The columns of training data: which there have to be, and what they may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from adfml_assets.errors import NothingToTrainOn
from adfml_assets.features.categories import is_category_type
from adfml_assets.training.errors import NamesTaken, WrongFeatureType
from resources.errors import NotFound
from resources.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBERS = "integers, floats, decimals or booleans"


def read_schema(lake: Lake, path: str) -> pa.Schema:
    """The Arrow schema of a Parquet file."""
    import pyarrow.parquet as pq

    with lake.open_file(path) as file:
        return pq.ParquetFile(file, pre_buffer=False).schema_arrow


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a model can take values of a type as they are."""
    import pyarrow as pa

    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(is_kind(kind) for is_kind in kinds)


def require_numeric(what: str, field: pa.Field) -> None:
    """Make sure a column holds numbers.

    Raises:
        WrongFeatureType: it does not.
    """
    if not is_numeric(field.type):
        advice = "Convert it where it is made."
        raise WrongFeatureType(what, {field.name: str(field.type)}, _NUMBERS, advice)


def check_features(what: str, schema: pa.Schema, names: Sequence[str], baseline: str) -> list[str]:
    """Make sure that a model can learn from columns. Returns those that are category columns.

    Raises:
        NotFound: a feature is no column, or the baseline no feature; with those there are.
        WrongFeatureType: a feature is neither a number nor a category column; all of them are named.
    """
    for name in names:
        if name not in schema.names:
            raise NotFound("column", name, what, schema.names)
    categories = [name for name in names if is_category_type(schema.field(name).type)]
    wrong = {
        name: str(schema.field(name).type)
        for name in names
        if name not in categories and not is_numeric(schema.field(name).type)
    }
    if wrong:
        advice = "Turn it into a number or counts by category, or leave it out of the features."
        raise WrongFeatureType(what, wrong, f"{_NUMBERS}, or counts by category (a list of name and count)", advice)
    if not any(baseline.startswith(f"{column}_") for column in categories):
        require_baseline(what, names, baseline)
    return categories


def require_baseline(what: str, names: Sequence[str], baseline: str) -> None:
    """Make sure that the baseline is a feature.

    Raises:
        NotFound: it is none.
    """
    if baseline not in names:
        raise NotFound("feature", baseline, f"{what} (it is the label's baseline)", names)


def require_other_names(what: str, names: Sequence[str]) -> None:
    """Make sure that no two columns have one name.

    Raises:
        NamesTaken: some have.
    """
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise NamesTaken(what, doubled)


def require_rows(model: str, counts: Mapping[str, int], dates: Sequence[date], days: int) -> None:
    """Make sure that no split is empty.

    Args:
        counts: of rows, or of dates, by split.
        dates: those there were to choose from, for the error.

    Raises:
        NothingToTrainOn: one is.
    """
    for split, count in counts.items():
        if not count:
            raise NothingToTrainOn(model, split, [day.isoformat() for day in dates], days)
