"""The MLflow store a workload is given: tracking, registry, aliases and files, shared with clients outside."""

from __future__ import annotations

from pathlib import Path

from .conftest import Registry, Workspace


def test_a_workload_registers_a_model_and_finds_it_by_its_alias(
    registry: Registry, workspace: Workspace, bundle: Path
) -> None:
    assert "champion 1 {'mae': 1.5}" in registry.log
    assert registry.aliases("forecast") == {"champion": 1}
    artifacts = workspace.cloud.state / "mlflow" / "artifacts"
    assert [path.read_text() for path in artifacts.rglob("model.txt")] == ["a model"]
    assert not [*workspace.cloud.state.rglob("mlruns"), *bundle.parent.rglob("mlruns")]
