"""Unity Catalog is told of every alias, however often telling it fails, and the control database stays the truth."""

from __future__ import annotations

from typing import Any

import pytest
from databricks.sdk.errors import PermissionDenied

from adfml_assets.models.errors import ReasonMissing
from adfml_assets.models.promotion import promote_version, roll_back, tell_unity_catalog
from resources.control import ControlDatabase
from resources.databricks import Databricks
from resources.errors import Refused, Unreachable
from resources.model_registry import ModelRegistry, NotPassed
from resources.unity_catalog import is_registered_name, is_unity_name, mirror_aliases
from tests.models.bench import NAME, FakeDatabricks, FakeRegisteredModels
from tests.models.conftest import MODEL, record


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_DATABRICKS_HOST", "https://adb-1.azuredatabricks.net")


@pytest.fixture
def databricks() -> Any:
    return FakeDatabricks()


@pytest.fixture
def catalog(databricks: Any) -> FakeRegisteredModels:
    return databricks.client.registered_models


@pytest.fixture
def registry(control: ControlDatabase) -> ModelRegistry:
    """Versions 1 and 2 in Unity Catalog as 11 and 12, version 3 nowhere."""
    for version in ("1", "2"):
        control.models.register(record(version, registered_name=NAME, registered_version=f"1{version}"))
    control.models.register(record("3"))
    return control.models


def promote(registry: ModelRegistry, version: str) -> None:
    registry.promote(MODEL, version, "alice", "test", force=True)


def test_it_is_told_where_an_alias_points_now(
    registry: ModelRegistry, databricks: Any, catalog: FakeRegisteredModels
) -> None:
    promote(registry, "1")
    promote(registry, "2")
    registry.point(MODEL, "audit", "1", "alice", "")
    told = mirror_aliases(registry, databricks, MODEL)
    assert told == [f"champion of {NAME} is version 12", f"audit of {NAME} is version 11"]
    assert catalog.calls == [f"set {NAME} champion 12", f"set {NAME} audit 11"]
    assert registry.list_unmirrored(MODEL) == []
    assert mirror_aliases(registry, databricks, MODEL) == []


def test_an_alias_that_was_taken_away_is_taken_away_there(
    registry: ModelRegistry, databricks: Any, catalog: FakeRegisteredModels
) -> None:
    registry.point(MODEL, "audit", "1", "alice", "")
    mirror_aliases(registry, databricks, MODEL)
    registry.point(MODEL, "audit", None, "alice", "")
    mirror_aliases(registry, databricks, MODEL)
    assert catalog.aliases == {}


def test_a_version_that_is_registered_nowhere_needs_no_workspace(
    registry: ModelRegistry, databricks: Any, catalog: FakeRegisteredModels
) -> None:
    promote(registry, "3")
    assert str(tell_unity_catalog(registry, databricks, MODEL)) == "nothing to tell"
    assert (catalog.calls, registry.list_unmirrored(MODEL)) == ([], [])


def test_the_alias_does_not_stay_with_a_version_that_is_champion_no_longer(
    registry: ModelRegistry, databricks: Any, catalog: FakeRegisteredModels
) -> None:
    """The new champion is in no registry, or under another name."""
    promote(registry, "1")
    mirror_aliases(registry, databricks, MODEL)
    promote(registry, "3")
    mirror_aliases(registry, databricks, MODEL)
    assert catalog.aliases == {}
    registry.register(record("4", registered_name="main.ml.other", registered_version="1"))
    promote(registry, "2")
    promote(registry, "4")
    mirror_aliases(registry, databricks, MODEL)
    assert catalog.aliases == {("main.ml.other", "champion"): 1}


def test_a_process_that_dies_between_database_and_mirror_loses_no_change(
    registry: ModelRegistry, databricks: Any, catalog: FakeRegisteredModels
) -> None:
    class Killed(BaseException):
        pass

    catalog.error = Killed()  # type: ignore[assignment]
    with pytest.raises(Killed):
        promote_version(ControlDatabase(), databricks, MODEL, "1", "alice", "it is good", force=True)
    assert registry.aliases(MODEL) == {"champion": "1"}
    assert [change.version for change in registry.list_unmirrored(MODEL)] == ["1"]
    catalog.error = None
    done = promote_version(ControlDatabase(), databricks, MODEL, "1", "alice", "again", force=True)
    assert (done.change.reason, str(done.unity_catalog)) == ("it is good", f"told: champion of {NAME} is version 11")
    assert catalog.aliases == {(NAME, "champion"): 11}


def test_a_refusal_is_said_and_told_again_later(
    registry: ModelRegistry, databricks: Any, catalog: FakeRegisteredModels
) -> None:
    promote(registry, "1")
    catalog.error = PermissionDenied("User does not own the model.")
    with pytest.raises(Refused, match=f"that {NAME} exists there, and that the identity owns it"):
        mirror_aliases(registry, databricks, MODEL)
    promote(registry, "2")
    said = tell_unity_catalog(registry, databricks, MODEL)
    assert str(said).startswith(
        "not told yet: Unity Catalog at https://adb-1.azuredatabricks.net refused: User does not"
    )
    catalog.error = None
    assert roll_back(ControlDatabase(), databricks, MODEL, "alice", "2 is worse").unity_catalog.told == (
        f"champion of {NAME} is version 11",
    )


def test_of_two_that_tell_at_once_the_last_state_stays(registry: ModelRegistry, databricks: Any) -> None:
    """Another process promotes and tells while this one is about to tell of the older state."""
    other: Any = FakeDatabricks()

    class Slow(FakeRegisteredModels):
        def set_alias(self, name: str, alias: str, version_num: int) -> None:
            if version_num == 11:
                promote(registry, "2")
                other.client.registered_models.aliases = self.aliases
                mirror_aliases(registry, other, MODEL)
                assert registry.list_unmirrored(MODEL) == []
            super().set_alias(name, alias, version_num)

    databricks.client.registered_models = slow = Slow()
    promote(registry, "1")
    mirror_aliases(registry, databricks, MODEL)
    assert slow.aliases == {(NAME, "champion"): 12}


def test_against_the_gate_only_with_force_and_a_reason(registry: ModelRegistry, databricks: Any) -> None:
    control = ControlDatabase()
    with pytest.raises(NotPassed, match="the gate has not judged it"):
        promote_version(control, databricks, MODEL, "1", "alice", "it is good")
    with pytest.raises(ReasonMissing, match="only with a reason"):
        promote_version(control, databricks, MODEL, "1", "alice", "  ", force=True)
    assert registry.aliases(MODEL) == {}
    promote_version(control, databricks, MODEL, "1", "alice", "it is good", force=True)
    (change,) = registry.list_changes(MODEL)
    assert (change.changed_by, change.reason) == ("alice", "it is good")


@pytest.mark.parametrize("name", ["main.ml.sales", "Main.ML-1.sales_forecast", "sales", "my model"])
def test_names_that_may_be_registered(name: str) -> None:
    assert is_registered_name(name)
    assert is_unity_name(name) is (name.count(".") == 2)


@pytest.mark.parametrize(
    "name", ["", " ", " sales", "ml.sales", "a.b.c.d", "main..sales", "main.ml.my model", "main/ml.a.b", "a/b", "a:b"]
)
def test_names_that_may_not(name: str) -> None:
    assert not is_registered_name(name)


def test_a_workspace_that_does_not_answer_is_told_later(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFML_DATABRICKS_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("ADFML_DATABRICKS_TOKEN", "t")
    promote(registry, "1")
    with pytest.raises(Unreachable, match="connection refused"):
        mirror_aliases(registry, Databricks(retry_seconds=1, request_timeout_seconds=1), MODEL)
    assert len(registry.list_unmirrored(MODEL)) == 1
