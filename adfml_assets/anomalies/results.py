"""The rows of a partition: what a model says of a series, as Arrow; and the answer the retired service gave of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adfml_assets.anomalies.alignment import Rows
from adfml_assets.anomalies.declared import DetectorSpec
from adfml_assets.anomalies.model import SeriesModel, grade

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

FILE = "anomalies.parquet"
TIMESTAMP = "timestamp"
CHUNK_ROWS = 65_536
COLUMNS = (TIMESTAMP, "is_anomaly", "severity", "score", "threshold", "filled", "contributors", "model_version")


def build_schema(by: str | None, group_type: pa.DataType | None) -> pa.Schema:
    """The columns of `anomalies.parquet`.

    timestamp (UTC), the `by` column under its own name where there is one, is_anomaly, severity (0 to 1), score and
    threshold (standard deviations), filled (how many values of the row were filled), contributors (only of anomalies,
    the largest share first: variable, contribution from 0 to 1, actual and expected in the variable's own unit), and
    the version of the model.
    """
    import pyarrow as pa

    contributor = pa.struct(
        [
            ("variable", pa.string()),
            ("contribution", pa.float64()),
            ("actual", pa.float64()),
            ("expected", pa.float64()),
        ]
    )
    fields = [
        pa.field(TIMESTAMP, pa.timestamp("us", tz="UTC"), nullable=False),
        *([pa.field(by, group_type or pa.string(), nullable=False)] if by else []),
        pa.field("is_anomaly", pa.bool_(), nullable=False),
        pa.field("severity", pa.float64(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
        pa.field("filled", pa.int16(), nullable=False),
        pa.field("contributors", pa.list_(contributor), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
    ]
    return pa.schema(fields)


def iterate_results(
    rows: Rows, model: SeriesModel, series: Any, version: str, spec: DetectorSpec, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The results of one series, in the order of time."""
    import numpy as np
    import pyarrow as pa

    for begin in range(0, len(rows.times), CHUNK_ROWS):
        part = slice(begin, begin + CHUNK_ROWS)
        values = rows.values[part]
        scores, residuals = model.score(values)
        is_anomaly = scores > model.threshold
        count = len(scores)
        arrays = {
            TIMESTAMP: pa.array(rows.times[part].view("datetime64[us]")).cast(pa.timestamp("us", tz="UTC")),
            "is_anomaly": pa.array(is_anomaly),
            "severity": pa.array(grade(scores, model.threshold, spec.threshold.severity_halfway)),
            "score": pa.array(scores),
            "threshold": pa.array(np.full(count, model.threshold)),
            "filled": pa.array(rows.filled[part]),
            "contributors": _name_contributors(is_anomaly, values, residuals, model, spec),
            "model_version": pa.repeat(pa.scalar(version), count),
        }
        if spec.by:
            arrays[spec.by] = pa.repeat(pa.scalar(series, schema.field(spec.by).type), count)
        yield pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _name_contributors(
    is_anomaly: NDArray[np.bool_],
    values: NDArray[np.float64],
    residuals: NDArray[np.float64],
    model: SeriesModel,
    spec: DetectorSpec,
) -> pa.Array:
    """Of each anomaly the variables with the largest shares of what is unexplained, largest first."""
    import numpy as np
    import pyarrow as pa

    named = min(spec.top_contributors, len(spec.variables))
    squares = np.square(residuals[is_anomaly])
    shares = squares / squares.sum(axis=1, keepdims=True)
    order = np.argsort(-shares, axis=1, kind="stable")[:, :named]
    actual = values[is_anomaly]
    expected = model.expect(actual) if len(actual) else actual
    chosen = [np.take_along_axis(array, order, axis=1).ravel() for array in (shares, actual, expected)]
    struct = pa.StructArray.from_arrays(
        [pa.array(spec.variables, pa.string()).take(pa.array(order.ravel())), *map(pa.array, chosen)],
        names=["variable", "contribution", "actual", "expected"],
    )
    offsets = np.concatenate([[0], np.cumsum(is_anomaly * named)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), struct)


def build_interpretation(contributors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Contributors under the names of the retired service (its correlationChanges are not determined here)."""
    return [{"variable": c["variable"], "contributionScore": c["contribution"]} for c in contributors]


def build_answer(rows: pa.Table) -> dict[str, Any]:
    """Rows of one series as the retired service answered: for code that still reads its answers.

    Source: Anomaly Detector 1.1, `POST /anomalydetector/v1.1/multivariate/models/{modelId}:detect-last`.

    Args:
        rows: of `anomalies.parquet`.
    """
    results = []
    for row in rows.to_pylist():
        value = {
            "isAnomaly": row["is_anomaly"],
            "severity": row["severity"],
            "score": row["score"],
            "interpretation": build_interpretation(row["contributors"]),
        }
        moment = row[TIMESTAMP].isoformat().replace("+00:00", "Z")
        results.append({"timestamp": moment, "value": value, "errors": []})
    return {"variableStates": [], "results": results}
