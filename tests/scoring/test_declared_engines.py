"""The engine that is declared is the one that scores, whatever other engines have the same fields."""

from __future__ import annotations

import pytest

from adfml_assets.components import ScoredModel
from adfml_assets.components.batch_endpoint import BatchEndpoint
from adfml_assets.components.in_database_engine import InDatabaseEngine
from adfml_assets.components.online_endpoint import OnlineEndpoint
from adfml_assets.components.remote_engine import RemoteEngine
from adfml_assets.errors import DeclarationInvalid

FROM_FEATURES = "from_features: customers"
FROM_QUERY = "from_query: { table: shop.dbo.Waiting, key: Id }"


@pytest.mark.parametrize(
    ("engine", "source", "expected"),
    [
        ("{ job: scoring }", FROM_FEATURES, RemoteEngine("scoring")),
        ("{ service: databricks, job: scoring }", FROM_FEATURES, RemoteEngine("scoring")),
        (
            "{ service: azure_ml_batch, endpoint: scoring }",
            FROM_FEATURES,
            BatchEndpoint("azure_ml_batch", "scoring"),
        ),
        (
            "{ service: azure_ml_online, endpoint: scoring }",
            FROM_FEATURES,
            OnlineEndpoint("azure_ml_online", "scoring"),
        ),
        (
            "{ service: azure_ml_online, endpoint: scoring, deployment: blue, secret: key, concurrency: 2 }",
            FROM_FEATURES,
            OnlineEndpoint("azure_ml_online", "scoring", deployment="blue", secret="key", concurrency=2),
        ),
        ("{ service: in_database }", FROM_QUERY, InDatabaseEngine("in_database")),
        (
            "{ service: in_database, way: compiled, verify: synthetic, sample_rows: 0, tolerance: 1.0e-9 }",
            FROM_QUERY,
            InDatabaseEngine("in_database", "compiled", "synthetic", 0, 1e-9),
        ),
    ],
)
def test_the_service_says_which_one_it_is(engine: str, source: str, expected: object) -> None:
    text = f"name: spend\n{source}\nengine: {engine}\nwrite_back: {{ table: shop.dbo.Predictions }}\n"
    assert ScoredModel.resolve_from_yaml(text).engine == expected


def test_an_engine_is_no_other_one() -> None:
    with pytest.raises(DeclarationInvalid, match="service is 'azure_ml_online'; expected azure_ml_batch"):
        BatchEndpoint("azure_ml_online", "scoring")  # type: ignore[arg-type]
