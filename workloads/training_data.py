"""The training set as it was written to the lake: its data card, and its three splits by time."""

from __future__ import annotations

import json
import logging
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.columns import open_parquet, require_columns, require_numbers, to_floats, to_matrix
from workloads.errors import WorkloadError
from workloads.metrics import CHAMPION, TRAIN_MEAN, TRAIN_MEDIAN
from workloads.paths import FileArea

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "validation", "test")
"""The splits in their order in time."""

DATA_CARD = "data_card.json"
"""File name of the data card, beside the splits."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataCard:
    """What a training set says of itself.

    Attributes:
        model: The model the set is for.
        version: The version of the model it is for.
        key: Column that identifies the scored thing.
        time: Column with the date the features were true at.
        label: Column to predict, never negative for the default target transform, in the label's own unit.
        baseline: Column that is itself the naive forecast of the label, in the same unit.
        features: Feature columns in the model's order.
        features_sha256: Identity of the feature definitions, given by who made them; carried along, not recomputed.
        rows: Split -> number of rows.
        periods: Split -> what period it covers, in the words of who made it.
        pinned: Category column -> the categories that became features, as of the training split; {} without any.
        definition_sha256: Identity of the feature set's definition; "" where there is none.
    """

    model: str
    version: str
    key: str
    time: str
    label: str
    baseline: str
    features: tuple[str, ...]
    features_sha256: str
    rows: dict[str, int]
    periods: dict[str, Any]
    pinned: dict[str, list[str]] = field(default_factory=dict)
    definition_sha256: str = ""


@dataclass(frozen=True)
class Split:
    """One split in memory.

    Attributes:
        name: "train", "validation" or "test".
        features: float64, one row a row, one column a feature; missing is NaN.
        label: float64, no NaN.
        baseline: float64, the naive forecast; missing is NaN.
        first: The earliest value of the time column (a date or timestamp as Arrow gives it).
        last: The latest.
    """

    name: str
    features: np.ndarray
    label: np.ndarray
    baseline: np.ndarray
    first: Any
    last: Any


def read_data_card(path: Path, shown_as: str) -> DataCard:
    """Read and check a data card.

    Raises:
        WorkloadError: It is no JSON object, lacks entries, has the label, the key or the time among the features, or a
            baseline with the name of another forecast.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise WorkloadError(f"{shown_as} is not valid JSON ({error}): write the training set again") from error
    wanted = [entry.name for entry in fields(DataCard) if entry.default is entry.default_factory is MISSING]
    missing = [name for name in wanted if not isinstance(content, dict) or content.get(name) in (None, "", [])]
    if missing:
        raise WorkloadError(
            f"{shown_as} lacks {', '.join(missing)}; a data card has {', '.join(wanted)}", missing=missing
        )
    features = tuple(str(name) for name in content["features"])
    doubled = sorted({name for name in features if features.count(name) > 1})
    if doubled:
        raise WorkloadError(f"{shown_as} lists features twice: {', '.join(doubled)}", doubled=doubled)
    leaking = [name for name in (content["label"], content["key"], content["time"]) if name in features]
    if leaking:
        raise WorkloadError(
            f"{shown_as} has {', '.join(leaking)} among the features: label, key and time tell the model the answer, "
            "or nothing that holds for the next rows; remove them",
            leaking=leaking,
        )
    if content["baseline"] in (taken := (TRAIN_MEDIAN, TRAIN_MEAN, CHAMPION)):
        raise WorkloadError(
            f"{shown_as}: the baseline column must not be called {content['baseline']}: {', '.join(taken)} are names "
            "of other forecasts that the model is compared with; rename the column"
        )
    missing_splits = [name for name in SPLITS if not isinstance(content["rows"].get(name), int)]
    if missing_splits:
        raise WorkloadError(f"{shown_as} gives no number of rows for {', '.join(missing_splits)}")
    return DataCard(
        **{
            **{name: content[name] for name in wanted},
            "features": features,
            "version": str(content["version"]),
            "pinned": {str(name): list(values) for name, values in (content.get("pinned") or {}).items()},
            "definition_sha256": str(content.get("definition_sha256") or ""),
        }
    )


def check_splits(area: FileArea, folder: str, card: DataCard) -> dict[str, Path]:
    """Find the three files and check rows, columns and types, without reading their data.

    Returns:
        Split -> local path.

    Raises:
        WorkloadError: A file or column is missing, a column is not numeric, a split is empty, or the rows are not as
            many as the data card says.
    """
    found: dict[str, Path] = {}
    for name in SPLITS:
        shown_as = f"{folder}/{name}.parquet"
        path = area.read(folder, f"{name}.parquet")
        with open_parquet(str(path), shown_as) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
        require_columns(schema, [*card.features, card.label, card.baseline, card.time], shown_as)
        require_numbers(schema, [*card.features, card.label, card.baseline], shown_as)
        if rows == 0:
            raise WorkloadError(
                f"the {name} split is empty ({shown_as}): widen its period, now {card.periods.get(name, 'not stated')}",
                split=name,
            )
        if rows != card.rows[name]:
            raise WorkloadError(
                f"{shown_as} holds {rows} rows, the data card says {card.rows[name]}: write the training set again",
                rows=rows,
                stated=card.rows[name],
            )
        found[name] = path
    return found


def read_split(path: Path, card: DataCard, name: str, shown_as: str) -> Split:
    """Read one split into memory.

    Raises:
        WorkloadError: The label has NULL or infinite values, or the time column is all NULL.
    """
    import numpy as np
    from pyarrow import compute, parquet

    columns = list(dict.fromkeys([*card.features, card.label, card.baseline, card.time]))
    table = parquet.read_table(path, columns=columns, partitioning=None)
    label = to_floats(table.column(card.label))
    unusable = int((~np.isfinite(label)).sum())
    if unusable:
        raise WorkloadError(
            f"{shown_as}: the label {card.label} is NULL or infinite in {unusable} of {len(label)} rows; "
            "every row needs one (0 where nothing happened)",
            unusable=unusable,
            rows=len(label),
        )
    features, infinite = to_matrix(table, card.features)
    if infinite:
        _log.info("%s: %d infinite feature values are taken for missing", shown_as, infinite)
    period = compute.min_max(table.column(card.time)).as_py()
    if period["min"] is None:
        raise WorkloadError(f"{shown_as}: the time column {card.time} is NULL in every row")
    baseline = to_floats(table.column(card.baseline)).copy()
    baseline[np.isinf(baseline)] = np.nan
    return Split(name, features, label, baseline, period["min"], period["max"])


def read_splits(area: FileArea, folder: str, card: DataCard) -> dict[str, Split]:
    """Read the three splits and check that they are usable for an honest evaluation.

    Raises:
        WorkloadError: As `check_splits` and `read_split`; the training label is zero everywhere; a feature is missing
            in every training row; or a split does not lie wholly after the one before it, so that the model would be
            tested on a time it was trained on.
    """
    import numpy as np

    paths = check_splits(area, folder, card)
    splits = {name: read_split(path, card, name, f"{folder}/{name}.parquet") for name, path in paths.items()}
    train = splits["train"]
    if not train.label.any():
        raise WorkloadError(
            f"{folder}/train.parquet: the label {card.label} is zero in all {len(train.label)} rows: "
            "there is nothing to learn; look at how the label is made"
        )
    empty = [name for name, column in zip(card.features, train.features.T, strict=True) if np.isnan(column).all()]
    if empty:
        raise WorkloadError(
            f"{folder}/train.parquet: missing in every row: {', '.join(empty)}: nothing can be learned from these "
            "features; fill them or leave them out",
            empty=empty,
        )
    for earlier, later in pairwise(SPLITS):
        if not splits[earlier].last < splits[later].first:
            raise WorkloadError(
                f"{folder}: the {later} split begins at {splits[later].first}, not after the end of the {earlier} "
                f"split at {splits[earlier].last} ({card.time}): split by time, so that the test is on a later time"
            )
    return splits
