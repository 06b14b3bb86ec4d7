"""A sample shows a few rows as they are: as text, cut, and without personal data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from adfml_assets.metadata import describe_partition, describe_written
from adfml_assets.samples import build_table, to_cell
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest

FOLDER = "archive/shop/main/People/snapshot_date=2026-03-10"


def write(lake: Lake, table: pa.Table, **facts: Any) -> Manifest:
    written = lake.write_table(f"{FOLDER}/people.parquet", table)
    manifest = build_manifest(
        asset="archive/shop/main/People",
        partition="2026-03-10",
        files=[written],
        schema=table.schema,
        written_at=datetime(2026, 3, 10, tzinfo=UTC),
        run_id="r",
        facts=facts,
    )
    commit_manifest(lake, FOLDER, manifest)
    return manifest


PEOPLE = pa.table(
    {
        "Id": pa.array(range(1, 101)),
        "Email": [f"someone{number}@example.com" for number in range(100)],
        "Spent": [number / 3 for number in range(100)],
        "Tags": [[{"name": "a|b", "count": 1}]] * 100,
    }
)


def test_a_partition_shows_its_first_rows(lake: Lake) -> None:
    shown = describe_partition(lake, FOLDER, write(lake, PEOPLE))
    lines = shown["sample"].value.splitlines()
    assert len(lines) == 2 + 5
    assert lines[0] == "| Id | Email | Spent | Tags |"
    assert lines[3].startswith("| 2 | someone1\\@example.com | 0.333333 | \\[{'name': 'a\\|b'")


def test_columns_of_personal_data_are_in_the_schema_and_in_no_sample(lake: Lake) -> None:
    manifest = write(lake, PEOPLE, personal=["Email"], hashed=[], primary_key=["Id"])
    shown = describe_partition(lake, FOLDER, manifest, texts={"Id": "Who."})
    assert "someone" not in str(shown)
    assert shown["sample"].value.splitlines()[0] == "| Id | Spent | Tags |"
    columns = {column.name: column for column in shown["dagster/column_schema"].columns}
    assert columns["Email"].description == "Personal data: not in samples."
    assert columns["Id"].description == "Who."
    assert columns["Id"].constraints.other == ["primary key"]
    written = describe_written(lake, FOLDER, manifest, {"Who": "Id", "Mail": "Email", "Sum": "Spent"})
    assert "someone" not in str(written)
    assert written["sample"].value.splitlines()[0] == "| Who | Sum |"
    drawn = describe_partition(lake, FOLDER, manifest, sample={"Id": ["1"], "Email": ["someone@example.com"]})
    assert "someone" not in str(drawn)


def test_a_partition_of_personal_data_alone_and_an_empty_one_have_no_sample(lake: Lake) -> None:
    manifest = write(lake, PEOPLE.select(["Email"]), personal=["Email"])
    assert "sample" not in describe_partition(lake, FOLDER, manifest)
    empty = describe_partition(lake, FOLDER, write(lake, PEOPLE.slice(0, 0)))
    assert "sample" not in empty
    assert empty["note"] == "The partition is empty."


def test_a_wide_table_is_cut_and_its_columns_go_down(lake: Lake) -> None:
    manifest = write(lake, pa.table({f"c{number}": [1] for number in range(200)}))
    lines = describe_partition(lake, FOLDER, manifest)["sample"].value.splitlines()
    assert lines[:3] == ["|  | row 1 |", "| --- | --- |", "| c0 | 1 |"]
    assert len(lines) == 2 + 30


@pytest.mark.parametrize(
    "text",
    ["![x](https://evil.example/p.png)", "<img src=x onerror=alert(1)>", "[click](javascript:alert(1))", "`a|b`\nc"],
)
def test_a_text_from_outside_is_no_markup(text: str) -> None:
    html = render({"Text": [text]})
    assert not [tag for tag in ("<img", "<a ", "<code") if tag in html]


@given(st.text(max_size=80))
def test_any_text_stays_one_cell(text: str) -> None:
    html = render({"Text": [text], "Next": ["end"]})
    assert html.count("<td>") == 2
    assert "<td>end</td>" in html
    assert not [tag for tag in ("<img", "<a ", "<code", "<em", "<strong", "<s>") if tag in html]


def render(sample: dict[str, list[str | None]]) -> str:
    table = build_table(sample)
    assert table is not None
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(table)


def test_a_long_value_is_cut() -> None:
    assert to_cell("x" * 100) == "x" * 57 + "..."
