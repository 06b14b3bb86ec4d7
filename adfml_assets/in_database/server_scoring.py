"""Scoring by PREDICT or sp_execute_external_script: the model stored at the server, and the statement that scores."""

from __future__ import annotations

from adfml_assets.in_database.external_script import build_external_script
from adfml_assets.in_database.model_store import ModelToStore, StoredModel, store_model
from adfml_assets.in_database.plan import ScoringPlan
from adfml_assets.in_database.platform import EXTERNAL
from adfml_assets.in_database.predict import MODEL_STORE, ServerScoring, build_predict
from adfml_assets.in_database.server_errors import WayUnavailable
from resources.database import Databases
from resources.servers.base import TableName
from resources.servers.sqlserver_statements import Statement


def require_transactions(plan: ScoringPlan) -> None:
    """Make sure that the server can stage, check and write rows in one transaction.

    Raises:
        WayUnavailable: it is a dedicated SQL pool.
    """
    if "onnx" in plan.platform.predict_kinds:
        name = plan.platform.name
        reason = (
            f"A {name} makes no table in a transaction and keeps no key, so that nothing is written there all at once"
        )
        use = (
            "call dbo.usp_ScoreWithPredict of resources/sql/usp_ScoreWithPredict_synapse.sql in it (adfml "
            f"register-model stores the version), or use {EXTERNAL}"
        )
        raise WayUnavailable(name, plan.way.way, reason, use)


def store_version(databases: Databases, plan: ScoringPlan) -> StoredModel:
    """Store the version in the database's MLModels where it is not yet; which one is active there stays as it is.

    Raises:
        NoModelStore, ModelStoreInvalid, VersionStored: see `store_model`.
    """
    model, chosen = plan.model, plan.model.chosen
    record = ModelToStore(chosen.model, chosen.version, model.sha256, model.kind, model.takes.names)
    place = (plan.spec.source.database, MODEL_STORE.schema, MODEL_STORE.table)
    return store_model(databases, *place, record, model.content, activate=False)


def build_statement(plan: ScoringPlan, staging: str) -> Statement:
    """The batch that scores into the staging table's columns RecordId and Score.

    Args:
        staging: the temporary table's name.
    """
    source, model = plan.spec.source, plan.model
    scoring = ServerScoring(
        source=TableName(source.schema, source.table),
        key=source.key,
        features=model.takes.names,
        staging=TableName("tempdb", staging),
        model=model.chosen.model,
        version=model.chosen.version,
        sha256=model.sha256,
        where=source.where,
    )
    if plan.way.way == "predict":
        # What RevoScale models call their prediction.
        return build_predict(scoring, f"{model.label}_Pred")
    return build_external_script(scoring, model.kind)
