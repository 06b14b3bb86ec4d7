"""Requests of an OpenAI batch: rows a second from an archived snapshot to JSON lines in the lake, and the memory.

`python -m benchmarks.jsonl` compares methods and sizes; `python -m benchmarks.jsonl <time> <method> <rows>`
measures one of them in this process. On a machine that does other work as well, the rows a CPU second are the
figure to compare: lines are made by two threads at once. Goal: 200,000 rows a second, and memory that does not grow
with the rows.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import Measured, print_table, report, run_apart

if TYPE_CHECKING:
    from adfml_assets.text.requests import RequestSpec
    from resources.lake import Lake
    from resources.manifest import Manifest

SIZES = (100_000, 1_000_000)
PLAIN = "Feedback of a customer in {{ Country }}:\n<feedback>{{ Text }}</feedback>"
CHOOSING = (
    "{% if Rating is none %}No rating{% elif Rating > 3 %}A good rating{% else %}A bad rating{% endif %} "
    "({{ Country | upper }}):\n<feedback>{{ Text | replace('<', ' ') }}</feedback>"
)
METHODS = {"plain": "adfml, a template of columns", "choosing": "adfml, a template with conditions and filters"}
A_ROW = "a row at a time: Jinja2, hashlib, json"
DAY = "2026-03-10"
_SCHEMA = {"type": "object", "properties": {"sentiment": {"type": "string"}, "positive": {"type": "number"}}}


def build_spec(template: str) -> RequestSpec:
    """What is asked, as a declaration would have it."""
    from adfml_assets.components.openai_batch_engine import OpenAIBatchEngine
    from adfml_assets.components.scored_text import ScoredText
    from adfml_assets.text import batch_assets

    engine = OpenAIBatchEngine(
        deployment="gpt-4o-mini", template=template, answer_schema=_SCHEMA, system="You judge feedback."
    )
    declaration = ScoredText("feedback", "shop.main.Feedback", ["Id"], "Text", engine)
    return batch_assets.build_spec(declaration, engine, Path())


def archive_feedback(lake: Lake, rows: int) -> tuple[str, Manifest]:
    """A snapshot of so many feedbacks of some 150 characters, written in batches."""
    import pyarrow as pa

    from adfml_assets import lake_layout
    from resources.manifest import build_manifest, commit_manifest

    folder = lake_layout.archive_folder("shop", "main", "Feedback", DAY)
    schema = pa.schema([("Id", pa.int64()), ("Text", pa.string()), ("Country", pa.string()), ("Rating", pa.int32())])
    with lake.write_parquet(f"{folder}/Feedback.parquet", schema) as sink:
        for start in range(0, rows, 50_000):
            ids = range(start, min(start + 50_000, rows))
            texts = [
                f'Order {n} came "two days" late and the box was crushed, but the lamp itself is bright and the lady '
                f"on the telephone sent a new shade at once. {n * 7919 % 10007}"
                for n in ids
            ]
            countries = ["Norway" if n % 3 else None for n in ids]
            sink.write(pa.table([ids, texts, countries, [n % 6 or None for n in ids]], schema=schema))
    assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
    manifest = build_manifest(
        asset="archive", partition=DAY, files=[sink.written], schema=schema, written_at=datetime.now(UTC), run_id="b"
    )
    commit_manifest(lake, folder, manifest)
    return folder, manifest


def prepare(method: str, rows: int, lake: Lake) -> Callable[[], dict[str, Any]]:
    """Get a method ready, and give what is measured."""
    from adfml_assets.text.requests import build_requests

    snapshot = archive_feedback(lake, rows)
    spec = build_spec({"plain": PLAIN, "choosing": CHOOSING}.get(method, PLAIN))
    if method == "a_row":
        return lambda: write_row_by_row(lake, spec, snapshot)

    def write() -> dict[str, Any]:
        now = datetime.now(UTC)
        manifest, requests = build_requests(lake, spec, snapshot, DAY, asset="a", now=now, run_id="r")
        return {"rows": manifest.rows, "bytes": manifest.facts["bytes_sent"], "files": len(requests)}

    return write


def write_row_by_row(lake: Lake, spec: RequestSpec, snapshot: tuple[str, Manifest]) -> dict[str, Any]:
    """What one would write by hand: a template, a digest and a JSON line for each row, into one file."""
    import hashlib
    import json

    import jinja2

    from resources.manifest import list_data_paths

    template = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(spec.template)  # noqa: S701
    count = size = 0
    target = Path(lake.root) / "by_hand.jsonl"
    with target.open("w", encoding="utf-8") as file:
        for path in list_data_paths(*snapshot):
            for batch in lake.iter_batches(path):
                for row in batch.to_pylist():
                    body = spec.build_body(template.render(row))
                    encoded = json.dumps(body)
                    custom_id = hashlib.sha256(f"{row['Id']}{encoded}".encode()).hexdigest()
                    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
                    size += file.write(json.dumps(line) + "\n")
                    count += 1
    return {"rows": count, "bytes": size, "files": 1}


def measure(started: str, method: str, rows: int) -> None:
    """Measure one method in this process."""
    with tempfile.TemporaryDirectory(prefix="adfml-bench-") as folder:
        os.environ["ADFML_LAKE"] = f"{folder}/lake"
        from resources.lake import Lake

        lake = Lake()
        warm = prepare(method, 1_000, lake)
        held: list[Callable[[], dict[str, Any]]] = []

        def warm_up() -> None:
            warm()
            held.append(prepare(method, rows, lake))

        report(started, warm_up, lambda: held[0]())


def main() -> None:
    """Compare methods and sizes."""
    table = []
    for rows in SIZES:
        for method, name in (*METHODS.items(), ("a_row", A_ROW)):
            found: Measured = run_apart("benchmarks.jsonl", method, str(rows))
            facts = found.facts
            table.append(
                (
                    name,
                    f"{rows:,}",
                    f"{rows / found.seconds:,.0f}",
                    f"{rows / found.cpu_seconds:,.0f}",
                    f"{facts['bytes'] / found.seconds / 1e6:,.0f}",
                    f"{found.peak_mb:,.0f}",
                    f"{found.peak_mb - found.start_mb:,.0f}",
                    f"{facts['files']} files of {facts['bytes'] / 1e6:,.0f} MB in all",
                )
            )
    columns = ("method", "rows", "rows/s", "rows a CPU second", "MB/s", "peak MB", "above start", "written")
    print_table(
        "Requests of an OpenAI batch, from a Parquet snapshot to JSON lines in a lake on this machine", columns, table
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main()
