"""The same rows scored by a method: inside their database, or taken out, scored by the model itself and written back.

`python -m benchmarks.in_database_methods <time> <method> <lake> <url> <warm url>` measures one. The one outside is as
lean as it can be: no files, no job, one process; rows leave and scores come back as Arrow.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import report

if TYPE_CHECKING:
    import pyarrow as pa

    from resources.database import Databases
    from resources.lake import Lake

MODEL, VERSION, KEYS = "spend", "1", ("RecordId",)
FEATURES = tuple(f"f{number}" for number in range(14))
WAITS = '"ScoredDate" IS NULL'
DAY = date(2026, 3, 10)

Method = Callable[["Lake", "Databases", str], dict[str, Any]]
"""Scores the rows of the schema's table Waiting into its table Predictions, and sets their dates."""


def score_inside(lake: Lake, databases: Databases, schema: str) -> dict[str, Any]:
    """adfml, engine in_database: with the comparison, all checks and the dates."""
    from adfml_assets.in_database.run import score_today
    from adfml_assets.in_database.spec import InDatabaseSpec
    from adfml_assets.scoring.model_choice import ModelChoice
    from adfml_assets.scoring.predictions import Target
    from adfml_assets.scoring.source_rows import SourceSpec
    from resources.control import ControlDatabase

    source = SourceSpec("shop", schema, "Waiting", "Id", WAITS, "ScoredDate")
    target = Target("shop", schema, "Predictions", KEYS)
    spec = InDatabaseSpec(MODEL, ModelChoice(None, VERSION), source, target)
    now = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC)
    scored = score_today(lake, ControlDatabase(), databases, spec, spec.choice, now=now)
    return {
        "rows": scored.done.written.inserted,
        "steps": {
            "compare": scored.compare_seconds,
            "score": scored.done.score_seconds,
            "write": scored.done.write_seconds,
        },
    }


def score_outside(lake: Lake, databases: Databases, schema: str) -> dict[str, Any]:
    """Read as Arrow, scored by the Python model, written back by adfml's own write-back with the dates."""
    from adfml_assets.scoring.write_back import describe_target, write_scores
    from adfml_assets.source_query import read_rows
    from adfml_assets.write_back.scored_rows import ScoredRows

    model = load_model(lake)
    _, batches = read_rows(databases, "shop", schema, "Waiting", WAITS, ("Id", *FEATURES))
    said = {"model": MODEL, "version": VERSION, "alias": "", "feature_snapshot": DAY.isoformat()}
    target = describe_target("shop", schema, "Predictions", KEYS)
    mark = ScoredRows(schema, "Waiting", "Id", "ScoredDate", "RecordId", "scored_at")

    def read(columns: list[str]) -> Iterator[pa.RecordBatch]:
        return (batch.select(columns) for batch in _score_batches(model, batches))

    written = write_scores(databases, target, _scores_schema(), read, DAY.isoformat(), said=said, mark=mark)
    return {"rows": written.inserted, "steps": {"write": written.seconds}}


def load_model(lake: Lake) -> Any:
    """The model, as the engine inside loads it."""
    from adfml_assets import lake_layout
    from adfml_assets.in_database.estimators import load_estimator
    from adfml_assets.training.trained import read_metadata

    metadata, folder = read_metadata(lake, MODEL, VERSION), lake_layout.model_folder(MODEL, VERSION)
    content = lake.read_bytes(f"{folder}/{metadata['model_file']}")
    return load_estimator(content, folder, str(metadata["model_sha256"]))


def _scores_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("RecordId", pa.int64()), ("score", pa.float64()), ("scored_at", pa.timestamp("us", tz="UTC"))])


def _score_batches(model: Any, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import numpy as np
    import pyarrow as pa

    moment = pa.scalar(datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC), pa.timestamp("us", tz="UTC"))
    for batch in batches:
        columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in FEATURES]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the matrix has no names
            scores = model.predict(np.column_stack(columns))
        times = pa.repeat(moment, batch.num_rows)
        yield pa.RecordBatch.from_arrays([batch.column("Id"), pa.array(scores), times], schema=_scores_schema())


METHODS: dict[str, Method] = {"inside": score_inside, "outside": score_outside}


def main() -> None:
    """Measure one method."""
    from resources.database import Databases
    from resources.lake import Lake

    started, method, folder, url, warm_url = sys.argv[1:]
    os.environ["ADFML_LAKE"] = folder
    os.environ["ADFML_CONTROL_URL"] = f"sqlite:///{Path(folder).parent}/control.sqlite"
    schema = "public" if url.startswith("postgresql") else "main"

    def run(address: str) -> dict[str, Any]:
        os.environ["ADFML_SHOP_URL"] = address
        return METHODS[method](Lake(), Databases(), schema)

    report(started, lambda: run(warm_url), lambda: run(url))


if __name__ == "__main__":
    main()
