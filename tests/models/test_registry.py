"""What the registry keeps of versions, and what it lets become champion."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from resources.control import ControlDatabase, begin
from resources.control_tables import metadata, model_aliases
from resources.migrations.revisions import version_table
from resources.model_registry import InvalidAlias, ModelRegistry, NotPassed, UnknownVersion, VersionKept, is_alias_name
from tests.models.conftest import MODEL, add_passed, promote_each, record


def test_a_version_is_found_as_it_was_registered(models: ModelRegistry) -> None:
    registered = models.register(record("1", registered_name="main.ml.sales", registered_version="7"))
    assert models.find(MODEL, "1") == registered
    assert (registered.registered_name, registered.registered_version) == ("main.ml.sales", "7")
    assert registered.metrics == {"test": {"mae": 10.0, "r2": None}}
    assert registered.registered_at is not None
    assert registered.registered_at.tzinfo is UTC
    assert (registered.verdict, registered.findings) == (None, [])
    assert models.find(MODEL, "2") is None
    assert models.list_models() == [MODEL]


def test_versions_are_listed_by_number(models: ModelRegistry) -> None:
    for version in ("9", "10", "2"):
        models.register(record(version))
    assert [found.version for found in models.list_versions(MODEL)] == ["10", "9", "2"]


def test_the_verdict_and_what_it_rests_on_are_kept(models: ModelRegistry) -> None:
    models.register(record("1"))
    findings = [{"reference": "median", "kind": "baseline", "passed": False, "reason": "worse"}]
    judged = models.judge(MODEL, "1", "refused", "worse", None, findings=findings)
    assert (judged.verdict, judged.reason, judged.compared_to, judged.findings) == ("refused", "worse", None, findings)
    assert models.judge(MODEL, "1", "passed", "better", "5") == judged
    assert models.register(record("1")) == judged
    assert models.aliases(MODEL) == {}


def test_a_version_that_passes_is_challenger_until_it_is_champion(models: ModelRegistry) -> None:
    add_passed(models, "1")
    assert models.aliases(MODEL) == {"challenger": "1"}
    change = models.promote(MODEL, "1", "run", "It passed.")
    assert (change.version, change.previous, change.action) == ("1", None, "promote")
    assert models.aliases(MODEL) == {"champion": "1"}
    assert [(c.alias, c.version, c.previous) for c in models.list_changes(MODEL)] == [
        ("challenger", "1", None),
        ("champion", "1", None),
        ("challenger", None, "1"),
    ]


def test_promoting_again_changes_nothing(models: ModelRegistry) -> None:
    add_passed(models, "1")
    change = models.promote(MODEL, "1", "run", "It passed.")
    before = models.list_changes(MODEL)
    assert models.promote(MODEL, "1", "run", "It passed.") == change
    assert models.list_changes(MODEL) == before


def test_an_older_version_takes_challenger_from_no_newer_one(models: ModelRegistry) -> None:
    models.register(record("9"))
    add_passed(models, "10")
    models.judge(MODEL, "9", "passed", "better", None)
    assert models.aliases(MODEL) == {"challenger": "10"}


def test_collecting_an_old_version_again_takes_nothing(models: ModelRegistry) -> None:
    promote_each(models, "1", "2")
    before = models.list_changes(MODEL)
    add_passed(models, "1")
    assert models.list_changes(MODEL) == before
    assert models.aliases(MODEL) == {"champion": "2"}


def test_what_did_not_pass_is_no_champion(models: ModelRegistry) -> None:
    with pytest.raises(UnknownVersion, match="has no version '1' in the registry \\(it has: none\\)"):
        models.promote(MODEL, "1", "run", "")
    models.register(record("1"))
    with pytest.raises(NotPassed, match="the gate has not judged it"):
        models.promote(MODEL, "1", "run", "")
    models.judge(MODEL, "1", "refused", "mae 3 does not beat 2.", None)
    with pytest.raises(NotPassed, match=r"the gate refused it. mae 3 does not beat 2.") as refused:
        models.promote(MODEL, "1", "run", "")
    assert (refused.value.model, refused.value.version) == (MODEL, "1")
    assert models.list_changes(MODEL) == []
    models.promote(MODEL, "1", "alice", "The old one is broken.", force=True)
    assert models.aliases(MODEL) == {"champion": "1"}


def test_what_was_compared_with_another_champion_is_none(models: ModelRegistry) -> None:
    promote_each(models, "1")
    add_passed(models, "2", "3", compared_to="1")
    models.promote(MODEL, "3", "run", "")
    with pytest.raises(NotPassed, match="it was compared with version 1, and version 3 is champion now"):
        models.promote(MODEL, "2", "run", "")


def test_what_was_rolled_back_does_not_come_back_by_itself(models: ModelRegistry) -> None:
    promote_each(models, "1", "2")
    models.rollback(MODEL, "alice", "It scores zeros.")
    with pytest.raises(NotPassed, match=r"it was champion and was rolled back by alice at .*It scores zeros."):
        models.promote(MODEL, "2", "run", "")
    models.promote(MODEL, "2", "alice", "It was the data.", force=True)
    assert models.aliases(MODEL) == {"champion": "2"}


def test_a_version_trained_again_is_judged_anew(models: ModelRegistry) -> None:
    add_passed(models, "1")
    again = models.register(record("1", submission_key="ml/models/sales_job|1|2", model_sha256="b" * 8))
    assert (again.verdict, again.model_sha256) == (None, "b" * 8)
    assert models.aliases(MODEL) == {}


def test_a_version_that_was_champion_stays_the_model_it_is(models: ModelRegistry) -> None:
    promote_each(models, "1", "2")
    assert [models.was_champion(MODEL, version) for version in ("1", "2", "3")] == [True, True, False]
    with pytest.raises(VersionKept, match="Version 1 of model sales is or was champion"):
        models.register(record("1", model_sha256="b" * 8))
    found = models.find(MODEL, "1")
    assert found is not None
    assert (found.model_sha256, found.verdict) == ("1" * 8, "passed")


def test_aliases_of_ones_own(models: ModelRegistry) -> None:
    models.register(record("1"))
    change = models.point(MODEL, "audit-2026", "1", "alice", "for the auditors")
    assert change is not None
    assert (change.version, change.changed_by) == ("1", "alice")
    assert models.point(MODEL, "audit-2026", "1", "alice", "again") is None
    assert models.aliases(MODEL) == {"audit-2026": "1"}
    models.point(MODEL, "audit-2026", None, "alice", "done")
    assert models.aliases(MODEL) == {}
    with pytest.raises(UnknownVersion, match="has no version '2' in the registry \\(it has: 1\\)"):
        models.point(MODEL, "audit-2026", "2", "alice", "typo")


@pytest.mark.parametrize("alias", ["", "a b", "a.b", "a/b", "latest", "Latest", "v1", "V20", "x" * 61, "é"])
def test_an_alias_that_unity_catalog_would_refuse(alias: str) -> None:
    assert not is_alias_name(alias)


def test_a_refused_alias_points_nowhere(models: ModelRegistry) -> None:
    models.register(record("1"))
    with pytest.raises(InvalidAlias, match="'v1' cannot be an alias"):
        models.point(MODEL, "v1", "1", "alice", "")
    assert models.list_changes(MODEL) == []


FIRST = {"adfml_deployments", "adfml_remote_jobs", "ArchiveWatermark", "adfml_partition_claims", "adfml_model_aliases"}
"""The tables of a control database from before versions were registered."""


def test_an_older_control_database_keeps_its_champion(models: ModelRegistry) -> None:
    engine = ControlDatabase().engine
    with begin(engine) as connection:
        for name, table in metadata.tables.items():
            if name not in FIRST:
                table.drop(connection)
        version_table.drop(connection)
        values = {"set_at": datetime(2026, 3, 1, tzinfo=UTC), "run_id": "old"}
        connection.execute(model_aliases.insert().values(model=MODEL, alias="champion", version="4", **values))
    upgraded = ControlDatabase().models
    assert upgraded.aliases(MODEL) == {"champion": "4"}
    assert upgraded.was_champion(MODEL, "4")
    add_passed(upgraded, "5", compared_to="4")
    upgraded.promote(MODEL, "5", "run", "It passed.")
    champions = [change for change in upgraded.list_changes(MODEL) if change.alias == "champion"]
    assert [(c.action, c.version, c.previous) for c in champions] == [("adopt", "4", None), ("promote", "5", "4")]
    assert upgraded.rollback(MODEL, "alice", "worse").version == "4"
    with engine.connect() as connection:
        assert connection.execute(sa.select(model_aliases.c.version)).scalars().all() == ["4"]
