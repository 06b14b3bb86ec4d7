"""What was found, by series, in memory that does not grow with the rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from adfml_assets.anomalies.alignment import Rows
from adfml_assets.anomalies.declared import Window
from adfml_assets.anomalies.model import SeriesModel

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

BINS = 480
PROFILES = 6


@dataclass
class SeriesSummary:
    """One series of a partition.

    Attributes:
        series: the value of `by`; None where there is only one.
        window: that was checked.
        rows: that were checked.
        anomalies: of them.
        filled: values that were filled.
        left_out: rows that stayed incomplete.
        threshold: of the series' model.
        fitted_rows, trimmed, explained: of the series' model; see there.
        worst_score: the highest score, 0 without rows; worst_at: when, UTC.
        worst_severity: its severity.
        contributions: by variable, the sum of its shares over all anomalies.
        profile: the highest score of each of BINS equal parts of the window; NaN where there is no row.
    """

    series: str | None
    window: Window
    threshold: float
    fitted_rows: int
    trimmed: int
    explained: float
    profile: NDArray[np.float64]
    rows: int = 0
    anomalies: int = 0
    filled: int = 0
    left_out: int = 0
    worst_score: float = 0.0
    worst_severity: float = 0.0
    worst_at: datetime | None = None
    contributions: dict[str, float] = field(default_factory=dict)

    @classmethod
    def begin(cls, series: str | None, window: Window, model: SeriesModel, rows: Rows) -> SeriesSummary:
        """A series whose results come next."""
        import numpy as np

        return cls(
            series,
            window,
            model.threshold,
            model.rows,
            model.trimmed,
            model.explained,
            np.full(BINS, np.nan),
            filled=int(rows.filled.sum()),
            left_out=rows.left_out,
        )

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of results in."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        scores = batch.column("score").to_numpy()
        times = batch.column("timestamp").cast(pa.int64()).to_numpy()
        self.rows += len(scores)
        self.anomalies += int(pc.sum(batch.column("is_anomaly")).as_py() or 0)
        top = int(scores.argmax())
        if scores[top] > self.worst_score:
            self.worst_score = float(scores[top])
            self.worst_severity = float(batch.column("severity")[top].as_py())
            self.worst_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(times[top]))
        begin, end = self.window.begin_us, self.window.end_us
        bins = np.clip((times - begin) * BINS // (end - begin), 0, BINS - 1)
        np.fmax.at(self.profile, bins, scores)
        named = batch.column("contributors").flatten()
        for entry in (
            pa.table({"v": named.field("variable"), "c": named.field("contribution")})
            .group_by("v")
            .aggregate([("c", "sum")])
            .to_pylist()
        ):
            self.contributions[entry["v"]] = self.contributions.get(entry["v"], 0.0) + entry["c_sum"]

    def describe(self) -> dict[str, Any]:
        """The worst row, for manifest and metadata."""
        return {
            "series": self.series,
            "timestamp": self.worst_at.isoformat() if self.worst_at else None,
            "score": self.worst_score,
            "threshold": self.threshold,
            "severity": self.worst_severity,
        }


@dataclass
class Summary:
    """A partition.

    Attributes:
        window: that was checked.
        series: of those that could be checked; only the PROFILES worst keep their profile.
        errors: of those that could not: code and message by series.
    """

    window: Window
    series: list[SeriesSummary] = field(default_factory=list)
    errors: dict[str | None, tuple[str, str]] = field(default_factory=dict)
    _profiled: list[SeriesSummary] = field(default_factory=list)

    def add(self, found: SeriesSummary) -> None:
        """Add a series; of all but the worst the profile is dropped."""
        import numpy as np

        self.series.append(found)
        self._profiled.append(found)
        self._profiled.sort(key=_rank, reverse=True)
        for dropped in self._profiled[PROFILES:]:
            dropped.profile = np.empty(0)
        del self._profiled[PROFILES:]

    @property
    def profiled(self) -> list[SeriesSummary]:
        """The series to be shown, the worst first."""
        return list(self._profiled)

    @property
    def rows(self) -> int:
        """Rows that were checked."""
        return sum(found.rows for found in self.series)

    @property
    def anomalies(self) -> int:
        """Anomalies among them."""
        return sum(found.anomalies for found in self.series)

    @property
    def filled(self) -> int:
        """Values that were filled."""
        return sum(found.filled for found in self.series)

    @property
    def left_out(self) -> int:
        """Rows that stayed incomplete and were not checked."""
        return sum(found.left_out for found in self.series)

    def find_worst(self) -> SeriesSummary | None:
        """The series with the anomaly that is furthest beyond its threshold; None without an anomaly."""
        found = [series for series in self._profiled if series.anomalies]
        return found[0] if found else None

    def add_up_contributions(self) -> dict[str, float]:
        """By variable its mean share over all anomalies, the largest first."""
        totals: dict[str, float] = {}
        for series in self.series:
            for variable, share in series.contributions.items():
                totals[variable] = totals.get(variable, 0.0) + share
        count = max(1, self.anomalies)
        return {name: total / count for name, total in sorted(totals.items(), key=lambda item: -item[1])}


def _rank(found: SeriesSummary) -> float:
    return found.worst_score / found.threshold
