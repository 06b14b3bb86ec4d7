"""The rows of a snapshot that are asked about hold what the archived table holds, wherever the snapshot lies."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa

from adfml_assets import lake_layout
from adfml_assets.archive.current import open_duckdb
from adfml_assets.text.prompts import Prompt, compile_prompt
from adfml_assets.text.source_rows import open_source
from resources.lake import Lake
from resources.manifest import build_manifest
from tests.conftest import NOW, TODAY


@dataclass(frozen=True)
class Spec:
    name: str
    source: str
    key: tuple[str, ...]
    text: str
    where: str | None
    prompt: Prompt


def test_a_column_of_the_table_is_not_taken_for_the_name_of_its_folder(lake: Lake) -> None:
    folder = lake_layout.archive_folder("shop", "main", "Feedback", TODAY)
    assert "snapshot_date=" in folder
    rows = pa.table({"Id": [1, 2], "Text": ["good", "bad"], "snapshot_date": ["spring", "autumn"]})
    file = lake.write_table(f"{folder}/Feedback_1.parquet", rows)
    manifest = build_manifest(asset="a", partition=TODAY, files=[file], schema=rows.schema, written_at=NOW, run_id="r")
    prompt = compile_prompt("Scored text t", "{{ Text }} in {{ snapshot_date }}")
    spec = Spec("t", "shop.main.Feedback", ("Id",), "Text", "snapshot_date = 'autumn'", prompt)
    with ExitStack() as stack:
        connection = stack.enter_context(open_duckdb())
        source = open_source(lake, spec, (folder, manifest), connection, stack)
        found = [prompt for batch in source.batches() for prompt in spec.prompt.render(batch.inputs)]
    assert found == ["bad in autumn"]
