"""All exception classes of the project, read from its source: nothing is imported for it."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("resources", "sensors", "adfml_assets", "adfml_cli", "workloads", "demo", "local_cloud")

# The roots of what a user can meet: each subclass says what to do, and has its anchor.
FAMILIES = {
    "resources.help.DocumentedError",
    "workloads.errors.WorkloadError",
    "local_cloud.errors.LocalCloudError",
    "demo.chromium.ChromiumMissing",
    "demo.processes.ProcessFailed",
    "demo.shop_schema.ShopError",
}
# Roots nobody raises by themselves, and the local cloud's answers, which reach a client as a service's HTTP error.
WITHOUT_ANCHOR = {
    "resources.help.DocumentedError",
    "resources.errors.ResourceError",
    "adfml_assets.errors.AdfmlError",
    "adfml_assets.anomalies.errors.DetectionError",
    "adfml_assets.anomalies.errors.GroupError",
    "adfml_assets.drift.errors.DriftError",
    "adfml_assets.write_back.errors.WriteBackError",
    "demo.shop_schema.ShopError",
    "workloads.errors.WorkloadError",
    "local_cloud.errors.LocalCloudError",
    "local_cloud.errors.ApiError",
    "local_cloud.errors.TokenError",
    "local_cloud.key_vault_api.VaultError",
    "local_cloud.language_errors.LanguageError",
}
# Signals between functions of one module, or of two neighbours, with what becomes of them: no user meets them.
INTERNAL = {
    "adfml_assets.models.hyperparameters.NoObject": "becomes DeclarationInvalid or TrainingConfigInvalid",
    "local_cloud.openai_answers.InvalidChat": "becomes an answer with status 400",
    "local_cloud.openai_schemas.SchemaRefused": "becomes an answer with status 400",
    "resources.alerts.channel.NotDelivered": "the alert is tried again; the sensor's log says so",
    "resources.azure_ml_online_pace.Stopped": "ends the other requests; the failure that stopped them is raised",
    "resources.language_answers.WrongAnswer": "is tried again, then becomes Unreachable",
    "resources.language_session.Stopped": "ends the other requests of a session that is closed",
    "resources.openai_answers.BrokenLine": "becomes IncompleteDownload",
    "resources.openai_settling.IncompleteDownload": "the batch is settled in a later tick",
    "resources.parquet_parts.Abandoned": "ends the writing thread; the caller's own exception is raised",
    "resources.servers.postgresql_errors.StatementFailed": "becomes a ResourceError",
    "resources.servers.sqlite_failure.SqliteFailure": "becomes a ResourceError",
    "resources.servers.sqlite_values.Mismatched": "becomes UnexpectedValue",
}


@dataclass(frozen=True)
class ErrorClass:
    """An exception class, by its module, name and the classes it descends from (qualified)."""

    module: str
    name: str
    ancestors: frozenset[str]

    @property
    def qualified(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def is_documented(self) -> bool:
        return bool(({self.qualified} | self.ancestors) & FAMILIES) and self.qualified not in WITHOUT_ANCHOR


def find_error_classes() -> list[ErrorClass]:
    """Every exception class that is not private, whatever it descends from."""
    bases = {name: parents for path in _list_modules() for name, parents in _read_classes(path)}
    found = []
    for qualified in bases:
        module, _, name = qualified.rpartition(".")
        ancestors = _climb(qualified, bases)
        if not name.startswith("_") and any(_is_builtin_error(ancestor) for ancestor in ancestors):
            found.append(ErrorClass(module, name, frozenset(ancestors)))
    return found


def _list_modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def _read_classes(path: Path) -> Iterator[tuple[str, list[str]]]:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    tree = ast.parse(path.read_text())
    origin = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    local = {node.name: f"{module}.{node.name}" for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names = [ast.unparse(base) for base in node.bases]
            yield f"{module}.{node.name}", [local.get(name) or origin.get(name, name) for name in names]


def _climb(qualified: str, bases: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    todo = list(bases[qualified])
    while todo:
        base = todo.pop()
        if base not in found:
            found.add(base)
            todo += bases.get(base, [])
    return found


def _is_builtin_error(name: str) -> bool:
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, BaseException)
