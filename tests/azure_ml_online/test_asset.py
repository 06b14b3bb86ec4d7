"""A day's scores by an online endpoint: every record in the scores or among the errors, visible whole or not at all."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from adfml_assets import lake_layout
from adfml_assets.components.online_endpoint import OnlineEndpoint
from resources.control import ControlDatabase
from resources.lake import Lake
from resources.manifest import read_manifest
from tests.azure_ml_online.conftest import Bench, make_records, predict_here
from tests.azure_ml_online.days import (
    MODEL,
    SCORES,
    VERSION,
    build_scores,
    materialise,
    put_model,
    put_records,
    read_failure,
    read_metadata,
)
from tests.conftest import TODAY


@pytest.fixture
def day(bench: Bench, lake: Lake, control: ControlDatabase) -> Bench:
    put_model(lake, control)
    return bench


def test_every_record_gets_its_score(day: Bench, lake: Lake) -> None:
    records = make_records(500)
    put_records(lake, records)
    result = materialise(scoring_uri=day.uri, rows_per_request=60)
    assert result.success
    scores = lake.read_table(f"{SCORES}/predictions.parquet")
    said = ["model", "version", "alias", "scored_at", "feature_snapshot"]
    assert scores.column_names == ["RecordId", "score", *said]
    assert scores["RecordId"].to_pylist() == records["RecordId"].to_pylist()
    assert scores["score"].to_pylist() == predict_here(day.models.champion, records)
    names = ["model", "version", "alias", "feature_snapshot"]
    rows = {tuple(row.values()) for row in scores.select(names).to_pylist()}
    assert rows == {(MODEL, VERSION, "champion", date.fromisoformat(TODAY))}
    manifest = read_manifest(lake, SCORES)
    assert manifest is not None
    assert (manifest.rows, manifest.facts["errors"], manifest.facts["deployments"]) == (500, 0, ["champion"])
    assert lake.list_files(SCORES) == [f"{SCORES}/_manifest.json", f"{SCORES}/predictions.parquet"]
    shown = read_metadata(result)
    assert (shown["dagster/row_count"], shown["errors"], shown["endpoint"]) == (500, 0, day.uri)


def test_records_the_model_refuses_are_kept_with_the_reason(day: Bench, lake: Lake) -> None:
    records = make_records(400)
    put_records(lake, records)
    limit = sorted(spend for spend in records["spend"].to_pylist() if spend is not None)[-4]
    day.behave("refuse", limit, times=None)
    result = materialise(scoring_uri=day.uri, rows_per_request=64)
    assert result.success
    refused = [row["RecordId"] for row in records.to_pylist() if row["spend"] is not None and row["spend"] > limit]
    errors = lake.read_table(f"{SCORES}/errors.parquet")
    assert errors["RecordId"].to_pylist() == refused
    assert all("the most this model was trained on" in error for error in errors["error"].to_pylist())
    kept = records.filter(pa.array([row not in refused for row in records["RecordId"].to_pylist()]))
    scores = lake.read_table(f"{SCORES}/predictions.parquet")
    assert scores["RecordId"].to_pylist() == kept["RecordId"].to_pylist()
    assert scores["score"].to_pylist() == predict_here(day.models.champion, kept)
    manifest = read_manifest(lake, SCORES)
    assert manifest is not None
    assert (manifest.rows, manifest.facts["errors"]) == (397, 3)
    assert read_metadata(result)["errors"] == 3


def test_a_day_scored_again_without_errors_keeps_none(day: Bench, lake: Lake) -> None:
    put_records(lake, make_records(200))
    day.behave("nan")
    assert materialise(scoring_uri=day.uri).success
    assert lake.read_table(f"{SCORES}/errors.parquet").num_rows == 1
    assert materialise(scoring_uri=day.uri).success
    assert lake.list_files(SCORES) == [f"{SCORES}/_manifest.json", f"{SCORES}/predictions.parquet"]


def test_more_errors_than_may_be_fail_the_day_and_leave_what_was_visible(day: Bench, lake: Lake) -> None:
    put_records(lake, make_records(300))
    assert materialise(scoring_uri=day.uri).success
    before = lake.read_bytes(f"{SCORES}/_manifest.json"), lake.read_bytes(f"{SCORES}/predictions.parquet")
    day.behave("refuse", 100, times=None)
    result = materialise(scoring_uri=day.uri, max_error_share=0.01)
    assert not result.success
    said = read_failure(result)
    assert "refused more than 1.00% of 300 records (max_error_share)" in said
    assert "RecordId " in said
    assert "the most this model was trained on" in said
    assert (lake.read_bytes(f"{SCORES}/_manifest.json"), lake.read_bytes(f"{SCORES}/predictions.parquet")) == before


def test_an_empty_day_is_materialised_empty_and_asks_nobody(day: Bench, lake: Lake) -> None:
    put_records(lake, make_records(0))
    result = materialise(scoring_uri=day.uri)
    assert result.success
    assert lake.read_table(f"{SCORES}/predictions.parquet").num_rows == 0
    assert read_metadata(result)["dagster/row_count"] == 0
    assert day.requests() == 0


def test_records_that_cannot_be_told_apart_are_not_sent(day: Bench, lake: Lake) -> None:
    put_records(lake, pa.concat_tables([make_records(5), make_records(5)]))
    result = materialise(scoring_uri=day.uri)
    assert "10 records have 5 different RecordIds" in read_failure(result)
    assert day.requests() == 0


def test_an_endpoint_that_is_down_fails_the_day_and_leaves_nothing(day: Bench, lake: Lake) -> None:
    put_records(lake, make_records(50))
    day.order(kind="status", code=500, path=day.path, times=None)
    result = materialise(scoring_uri=day.uri, rows_per_request=10, retry_seconds=0.5)
    assert "cannot be reached (500" in read_failure(result)
    assert lake.list_files(lake_layout.scores_folder(MODEL, TODAY)) == []


def test_a_wrong_engine_is_refused_when_it_is_declared() -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=r"Model small_model.*endpoint is 'missing"):
        build_scores()
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="max_error_share is 2"):
        build_scores(endpoint="small-model", max_error_share=2)


def test_the_declaration_takes_its_fields_and_no_others() -> None:
    adapter = TypeAdapter(OnlineEndpoint)
    declared = adapter.validate_json('{"service": "azure_ml_online", "endpoint": "e", "secret": "s"}', strict=True)
    assert (declared.build_target().endpoint, declared.build_target().secret) == ("e", "s")
    for wrong in ('{"endpoint": "e"}', '{"service": "databricks"}', '{"service": "azure_ml_online", "key": "k"}'):
        with pytest.raises(ValidationError):
            adapter.validate_json(wrong, strict=True)
