"""`ScoredText`: a text column of an archived table, scored by a language model's batch or the Language service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.about import About
from adfml_assets.components.declaration import STRICT, build_options
from adfml_assets.components.language_engine import LanguageEngine
from adfml_assets.components.openai_batch_engine import OpenAIBatchEngine
from adfml_assets.partitions import build_daily_partitions


@dataclass
class TextWriteBack(dg.Resolvable):
    """Where the answers go.

    Attributes:
        table: `database.schema.table`; its rows are there already, found by the key, and only the columns named here
            change.
        columns: field of the answer -> column of the table. With `scored_at` among them an older day never overwrites
            the answers of a newer one.
        keys: the columns of the table that identify a row, in the order of the declaration's `key`; none: of the same
            names.
        mark: column -> value, set in every row that has an answer, for example {scored: 1}.
        mark_rejected: column -> value, set in every row that was rejected for good, so that it is not asked about,
            and paid for, again on the next day. Empty: such rows stay as they are.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    table: str
    columns: Mapping[str, str]
    keys: Sequence[str] = ()
    mark: Mapping[str, Any] = field(default_factory=dict)
    mark_rejected: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class ScoredText(dg.Component, dg.Resolvable):
    """Texts of a table's daily snapshot, scored, and the answers back in SQL.

    Attributes:
        name: of the assets and their folder in the lake.
        source: the archived table, `database.schema.table`.
        key: the columns that identify a row.
        text: the column that holds the text. Rows in which it is NULL or blank are rejected without being sent.
        engine: who scores.
        where: which rows of the snapshot: a SQL predicate (DuckDB) over its columns, for example `scored = 0`.
        write_back: the table the answers go to; none: they stay in the lake.
        adf_pipeline: the pipeline this takes the place of, for the descriptions.
        owners: people or `team:` names.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    source: str
    key: Sequence[str]
    text: str
    engine: OpenAIBatchEngine | LanguageEngine
    where: str | None = None
    write_back: TextWriteBack | None = None
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets of the engine that is declared."""
        if isinstance(self.engine, LanguageEngine):
            from adfml_assets.text.language_assets import build_language_assets

            return dg.Definitions(assets=build_language_assets(self, self.engine))
        from adfml_assets.text.batch_assets import build_batch_assets

        return dg.Definitions(assets=build_batch_assets(self, self.engine, context.path))

    def build_options(self, about: About, kinds: set[str]) -> dict[str, Any]:
        """The keyword arguments of `dg.asset` of each of its assets: daily partitions, group `text`."""
        return build_options(
            about,
            adf_pipeline=self.adf_pipeline,
            partitions=build_daily_partitions(),
            group="text",
            kinds=kinds,
            owners=self.owners,
        )
