"""A ScoredModel that names an online endpoint as its engine: scores and their table, and no job."""

from __future__ import annotations

import sqlite3

import dagster as dg

from adfml_assets.asset_keys import scores_key, table_key
from adfml_assets.components.online_endpoint import OnlineEndpoint
from adfml_assets.components.scored_model import ScoredModel, WriteBack
from resources.azure_ml_online import AzureMlOnline
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from tests.azure_ml_online.conftest import Bench, make_records, predict_here
from tests.azure_ml_online.days import MODEL, put_model, put_records
from tests.conftest import TODAY


def test_the_days_scores_reach_their_table(
    bench: Bench, lake: Lake, control: ControlDatabase, shop: sqlite3.Connection
) -> None:
    records = make_records(150)
    put_model(lake, control)
    put_records(lake, records)
    bench.behave("nan")
    model = ScoredModel(
        name=MODEL,
        from_features="customer_features",
        engine=OnlineEndpoint(service="azure_ml_online", scoring_uri=bench.uri, rows_per_request=1000),
        write_back=WriteBack("shop.main.Predictions"),
    )
    assets = list(dg.build_defs_for_component(model).assets or [])
    keys = {key.to_user_string() for asset in assets for key in asset.keys}  # type: ignore[union-attr]
    assert keys == {"ml/scoring_input/small_model", "ml/scores/small_model", "database/shop/main/Predictions"}
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            assets,
            selection=[scores_key(MODEL), table_key("shop", "main", "Predictions")],
            partition_key=TODAY,
            resources={
                "lake": Lake(),
                "control": ControlDatabase(),
                "databases": Databases(),
                "azure_ml_online": AzureMlOnline(),
            },
            instance=instance,
        )
    assert result.success
    written = dict(shop.execute("SELECT RecordId, score FROM Predictions").fetchall())
    expected = dict(zip(records["RecordId"].to_pylist(), predict_here(bench.models.champion, records), strict=True))
    del expected[1]  # the row that had no finite score
    assert written == expected
