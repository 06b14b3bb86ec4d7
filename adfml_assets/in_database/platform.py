"""What a database server is, and by which of its own means it can score: compiled SQL, PREDICT, an external script.

Read from the server itself: SQL Server and everything that speaks its protocol say what they are by
SERVERPROPERTY('EngineEdition'). What each of them can do is Microsoft's documentation of PREDICT and
sp_execute_external_script; neither exists on Azure SQL Database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from adfml_assets.in_database.server_errors import WayUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

Way = Literal["compiled", "predict", "external_script"]
DeclaredWay = Literal["auto", "compiled", "predict", "external_script"]
ModelKind = Literal["skops", "onnx", "pickle", "revoscale"]
"""How a model is stored: by this project's training job, as ONNX, pickled, or by rx_serialize_model."""

EXTERNAL = "an engine outside (databricks, azure_ml_batch or azure_ml_online)"

SELECT_PLATFORM = (
    "SELECT CONVERT(int, SERVERPROPERTY('EngineEdition')), CONVERT(nvarchar(128), SERVERPROPERTY('ProductVersion')), "
    "CONVERT(int, SERVERPROPERTY('IsAdvancedAnalyticsInstalled'))"
)
SELECT_SCRIPTS = "SELECT CONVERT(int, value_in_use) FROM sys.configurations WHERE name = N'external scripts enabled'"

_SELECT_VERSION = {
    "sqlite": "SELECT sqlite_version()",
    "postgresql": "SHOW server_version",
    "duckdb": "SELECT ltrim(version(), 'v')",
}
_AZURE_SQL, _DEDICATED_POOL, _MANAGED_INSTANCE, _ARC, _FABRIC = 5, 6, 8, 10, 12
_BOXED = (2, 3, 4)
_NAMES = {
    _AZURE_SQL: "Azure SQL Database",
    _DEDICATED_POOL: "Synapse dedicated SQL pool",
    _MANAGED_INSTANCE: "Azure SQL Managed Instance",
    9: "Azure SQL Edge",
    _ARC: "SQL Managed Instance enabled by Azure Arc",
    11: "Synapse serverless SQL pool or Fabric warehouse",
    _FABRIC: "SQL database in Fabric",
}
_SQL_SERVER_2017 = 14
_COMPILES = (*_BOXED, _AZURE_SQL, _MANAGED_INSTANCE, _ARC, _FABRIC)
_NOT_SQL_SERVER = {
    "predict": "PREDICT is T-SQL, and {name} has none",
    "external_script": "sp_execute_external_script is T-SQL, and {name} has none",
}


@dataclass(frozen=True)
class Platform:
    """A database server, and what it can score by.

    Attributes:
        name: in words, such as `Azure SQL Database`.
        edition: SERVERPROPERTY('EngineEdition'); None where it is no SQL Server.
        version: as the server says it; "" where it was not asked.
        compiled: whether a model compiled to SQL can be run.
        predict: whether PREDICT can.
        external_script: whether sp_execute_external_script can, as the server is set up.
        predict_kinds, script_kinds: the kinds of models that these two take.
        reasons: way -> why it is not there, for those that are not.
    """

    name: str
    edition: int | None = None
    version: str = ""
    compiled: bool = False
    predict: bool = False
    external_script: bool = False
    predict_kinds: tuple[ModelKind, ...] = ()
    script_kinds: tuple[ModelKind, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_pool(self) -> bool:
        """Whether it is a Synapse dedicated SQL pool, which enforces no key and locks no range."""
        return self.edition == _DEDICATED_POOL

    def __str__(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True)
class ChosenWay:
    """A way of scoring inside the database.

    Attributes:
        way: which.
        reasons: why it, and why not those that come before it; sentences.
    """

    way: Way
    reasons: tuple[str, ...]


def read_platform(connection: Connection) -> Platform:
    """Ask a server what it is.

    Args:
        connection: of any dialect; what is not known can do nothing.
    """
    dialect = connection.dialect.name
    if dialect != "mssql":
        asked = _SELECT_VERSION.get(dialect)
        return describe_dialect(dialect, str(connection.exec_driver_sql(asked).scalar_one()) if asked else "")
    edition, version, installed = connection.exec_driver_sql(SELECT_PLATFORM).one()
    enabled = None
    if edition in (*_BOXED, _MANAGED_INSTANCE, _ARC):
        enabled = connection.exec_driver_sql(SELECT_SCRIPTS).scalar()
    return describe_sql_server(int(edition), str(version or ""), installed=bool(installed), enabled=bool(enabled))


def describe_dialect(dialect: str, version: str = "") -> Platform:
    """A server that is no SQL Server: models compiled to SQL run on SQLite, PostgreSQL and DuckDB."""
    names = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "duckdb": "DuckDB"}
    name = names.get(dialect, dialect)
    reasons = {way: text.format(name=name) for way, text in _NOT_SQL_SERVER.items()}
    if dialect not in names:
        reasons["compiled"] = f"models are not compiled to the SQL of {name}"
    # PostgreSQL's version goes on with how it was packaged.
    return Platform(name, version=version.partition(" ")[0], compiled=dialect in names, reasons=reasons)


def describe_sql_server(edition: int, version: str = "", *, installed: bool, enabled: bool) -> Platform:
    """What a SQL Server, or what speaks its protocol, can do.

    Args:
        edition: SERVERPROPERTY('EngineEdition').
        version: SERVERPROPERTY('ProductVersion'), such as 16.0.4185.3.
        installed: whether Machine Learning Services are installed (SQL Server only; Managed Instance has them).
        enabled: whether the setting `external scripts enabled` is on.
    """
    name = _NAMES.get(edition, "SQL Server" if edition in _BOXED else f"SQL Server of edition {edition}")
    reasons: dict[str, str] = {}
    if edition == _DEDICATED_POOL:
        reasons["compiled"] = f"a {name} enforces no keys, and compiled SQL is written by an upsert that needs them"
    elif edition not in _COMPILES:
        reasons["compiled"] = f"compiled SQL was not made for {name}"
    major = version.partition(".")[0]
    old = edition in _BOXED and major.isdecimal() and int(major) < _SQL_SERVER_2017
    predict_kinds: tuple[ModelKind, ...] = ()
    if edition == _DEDICATED_POOL:
        predict_kinds = ("onnx",)
    elif edition in (*_BOXED, _MANAGED_INSTANCE) and not old:
        predict_kinds = ("revoscale",)
    else:
        reasons["predict"] = f"PREDICT does not exist on {f'SQL Server before 2017 ({version})' if old else name}"
    script_kinds: tuple[ModelKind, ...] = ()
    if edition not in (*_BOXED, _MANAGED_INSTANCE) or old:
        where = f"SQL Server before 2017 ({version}) for Python" if old else name
        reasons["external_script"] = f"sp_execute_external_script does not exist on {where}"
    elif edition in _BOXED and not installed:
        reasons["external_script"] = f"Machine Learning Services are not installed on this {name}"
    elif not enabled:
        reasons["external_script"] = (
            f"external scripts are off on this {name} (an administrator turns them on: "
            "EXEC sp_configure 'external scripts enabled', 1; RECONFIGURE)"
        )
    else:
        # Python 3.7 is built into a Managed Instance, and no scikit-learn that reads these files runs on it.
        script_kinds = ("onnx",) if edition == _MANAGED_INSTANCE else ("skops", "onnx", "pickle")
    return Platform(
        name,
        edition,
        version,
        compiled="compiled" not in reasons,
        predict=bool(predict_kinds),
        external_script=bool(script_kinds),
        predict_kinds=predict_kinds,
        script_kinds=script_kinds,
        reasons=reasons,
    )


def choose_way(
    platform: Platform,
    kind: ModelKind,
    declared: DeclaredWay = "auto",
    *,
    cannot_compile: str | None = None,
) -> ChosenWay:
    """How a model is scored inside a database: as declared, or by the first way that works.

    `auto` takes compiled SQL before PREDICT before an external script: it needs nothing installed, no model store, and
    works on every platform.

    Args:
        kind: how the model is stored.
        declared: what the declaration says.
        cannot_compile: why the model has no SQL (the sentence of `CannotCompile`); None: it has.

    Raises:
        WayUnavailable: what is declared is not possible, or nothing is; says what to use.
    """
    ways: tuple[Way, ...] = get_args(Way)
    refused = {way: _refuse(platform, kind, way, cannot_compile) for way in ways}
    possible = [way for way in ways if refused[way] is None]
    if declared != "auto":
        reason = refused[declared]
        if reason is None:
            return ChosenWay(declared, (f"Way {declared} is declared, and {platform} has it for this model.",))
        raise WayUnavailable(platform.name, declared, reason, _advise(possible, kind, platform))
    passed_over: list[str] = []
    for way in ways:
        reason = refused[way]
        if reason is None:
            return ChosenWay(way, (*passed_over, f"{platform} has {_WORDS[way]} for this model."))
        passed_over.append(f"Not {_WORDS[way]}: {reason}.")
    reason = "; ".join(str(refused[way]) for way in ways)
    raise WayUnavailable(platform.name, "auto", reason, _advise(possible, kind, platform))


_WORDS: Mapping[Way, str] = {
    "compiled": "compiled SQL",
    "predict": "PREDICT",
    "external_script": "sp_execute_external_script",
}


def _refuse(platform: Platform, kind: ModelKind, way: Way, cannot_compile: str | None) -> str | None:
    """Why a way is not possible; None: it is."""
    if way in platform.reasons:
        return platform.reasons[way]
    if way == "compiled":
        if kind != "skops":
            return f"a model stored as {kind} has no SQL: only scikit-learn models stored as skops are compiled"
        return cannot_compile.rstrip(".") if cannot_compile is not None else None
    kinds = platform.predict_kinds if way == "predict" else platform.script_kinds
    if kind in kinds:
        return None
    if way == "predict":
        takes = "ONNX models" if "onnx" in kinds else "models that revoscalepy or RevoScaleR made (rx_serialize_model)"
        return f"PREDICT on {platform.name} takes {takes} only, and this one is stored as {kind}"
    if kind == "revoscale":
        return "what rx_serialize_model made is scored by PREDICT, not by a script"
    return f"the Python 3.7 of {platform.name} has no scikit-learn that loads a model stored as {kind}; ONNX it runs"


def _advise(possible: list[Way], kind: ModelKind, platform: Platform) -> str:
    if possible:
        return f"use {_WORDS[possible[0]]} (way: {possible[0]}), or {EXTERNAL}"
    if kind != "onnx" and "onnx" in (*platform.predict_kinds, *platform.script_kinds):
        return f"store the model as .onnx, or use {EXTERNAL}"
    return f"use {EXTERNAL}"
