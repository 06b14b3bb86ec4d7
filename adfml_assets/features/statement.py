"""A definition as SQL: one compile step for all engines, before anything is read.

The text for DuckDB and the text for Spark come from one tree, and the types of the result are found once, by binding it
over empty tables: what an engine gives back is cast to them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adfml_assets.features.definition import FEATURE_DATES, FeatureSetSpec
from adfml_assets.features.errors import ExpressionFailed, NotPortable, WrongArguments
from adfml_assets.features.expressions import load_function, require_columns
from adfml_assets.features.result_schema import describe_result
from adfml_assets.features.spark_sql import to_spark_sql
from adfml_assets.features.sql_text import bind_parameters, check_query, parse_query

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.expr.types import Table

_CONSTANT = "adfml_constant"


@dataclass(frozen=True)
class Statement:
    """A definition, ready to run.

    Attributes:
        duckdb: its text for DuckDB, over tables by their names in the definition.
        spark: the same for Spark; None: the set's engine is DuckDB, and it need not run anywhere else.
        constants: tables that are part of the definition itself, by name: `feature_dates`, and tables in memory.
        schema: of the result: the key, the time, then the features in their order.
    """

    duckdb: str
    spark: str | None
    constants: Mapping[str, pa.Table]
    schema: pa.Schema


def compile_statement(spec: FeatureSetSpec, schemas: Mapping[str, pa.Schema], dates: Sequence[Any] | None) -> Statement:
    """A definition over tables of these schemas.

    Args:
        schemas: of the tables, by name.
        dates: the feature dates; None: `rows: event`.

    Raises:
        ExpressionNotFound, WrongArguments, SqlInvalid: the definition cannot be called, or does not parse.
        ExpressionFailed: it asks for what the tables have not; says what they have.
        NotFound: the result lacks the key or the time.
        WrongType: a result's column is of a type that features cannot have.
    """
    import pyarrow as pa

    constants: dict[str, pa.Table] = {}
    if dates is not None:
        constants[FEATURE_DATES] = pa.table({"feature_date": pa.array(dates, pa.date32())})
    if spec.sql:
        check_query(spec.name, spec.sql)
        duckdb = bind_parameters(spec.name, spec.sql, spec.parameters)
        spark = None if spec.engine == "duckdb" else to_spark_sql(parse_query(spec.name, duckdb))
    else:
        duckdb, spark, memory = _compile_function(spec, schemas, constants)
        constants.update(memory)
    empty = {name: schema.empty_table() for name, schema in schemas.items()}
    shown = {name: table.column_names for name, table in {**empty, **constants}.items()}
    found = describe_result(spec, duckdb, {**empty, **constants}, shown)
    require_columns(f"the result of {spec.function or 'the SQL'}", list(found), [spec.key, spec.time])
    order = [spec.key, spec.time, *(name for name in found if name not in (spec.key, spec.time))]
    return Statement(duckdb, spark, constants, pa.schema([(name, found[name]) for name in order]))


def _compile_function(
    spec: FeatureSetSpec, schemas: Mapping[str, pa.Schema], constants: Mapping[str, pa.Table]
) -> tuple[str, str | None, dict[str, pa.Table]]:
    import ibis
    import ibis.backends.sql.compilers as compilers
    import ibis.expr.operations as ops

    function = load_function(str(spec.function))
    _check_arguments(spec, function, [*schemas, *constants, *spec.parameters])
    tables = {
        name: ibis.table(ibis.Schema.from_pyarrow(schema), name=name)
        for name, schema in {**schemas, **{name: table.schema for name, table in constants.items()}}.items()
    }
    shown = {name: list(table.columns) for name, table in tables.items()}
    try:
        result = function(**tables, **spec.parameters)
        if not isinstance(result, ibis.expr.types.Table):
            raise TypeError(f"it gives {type(result).__name__}, no ibis table")
        tree = compilers.duckdb.compiler.to_sqlglot(result.unbind())
        duckdb = tree.sql(dialect=compilers.duckdb.compiler.dialect, pretty=True)
        spark = None
        if spec.engine != "duckdb":
            _ = ibis.pyspark  # the options that its compiler reads are there only once the backend was looked up
            spark = to_spark_sql(compilers.pyspark.compiler.to_sqlglot(result.unbind()))
    except Exception as error:  # whatever a function of the user's raises: it is told with what there is
        raise ExpressionFailed(spec.name, spec.definition, _describe(error), shown) from error
    _refuse_python(spec, result)
    memory = {}
    for index, op in enumerate(result.op().find(ops.InMemoryTable)):
        # ibis makes a name up; the same definition is to give the same text.
        name = f"{_CONSTANT}_{index}"
        duckdb, spark = duckdb.replace(op.name, name), spark and spark.replace(op.name, name)
        memory[name] = op.data.to_pyarrow(op.schema)
    return duckdb, spark, memory


def _check_arguments(spec: FeatureSetSpec, function: Any, given: Sequence[str]) -> None:
    taken = inspect.signature(function).parameters
    named = [
        name
        for name, one in taken.items()
        if one.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    ]
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values())
    unknown = [] if takes_any else [name for name in given if name not in named]
    missing = [name for name in named if name not in given and taken[name].default is inspect.Parameter.empty]
    if unknown or missing:
        raise WrongArguments(spec.name, spec.definition, unknown, missing, named)


def _refuse_python(spec: FeatureSetSpec, result: Table) -> None:
    import ibis.expr.operations as ops
    from ibis.expr.operations.udf import InputType

    for op in result.op().find((ops.ScalarUDF, ops.AggUDF)):
        if op.__input_type__ is not InputType.BUILTIN:
            name = getattr(op, "__func_name__", type(op).__name__)
            instead = "Write it with ibis' own operations, or as a builtin that all engines have."
            raise NotPortable(spec.name, f"the Python function {name}", instead)


def _describe(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
