"""`engine: {service: in_database, ...}`: the rows are scored where they are, inside their database."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.components.declaration import STRICT, require_service
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.in_database.platform import DeclaredWay
from adfml_assets.in_database.spec import InDatabaseSpec, Verify
from adfml_assets.scoring.model_choice import ModelChoice
from adfml_assets.scoring.predictions import Target
from adfml_assets.scoring.source_rows import SourceSpec


@dataclass
class InDatabaseEngine(dg.Resolvable):
    """The database itself scores; no row leaves it but a sample (pattern InDatabaseMLScoring).

    Attributes:
        service: `in_database`.
        way: `compiled`: the model as SQL, on every database. `predict`: T-SQL PREDICT. `external_script`:
            sp_execute_external_script. `auto`: the first of them that the server and the model have.
        verify: before any row is written compiled scores are compared with the Python model's: on a `sample` of the
            rows, or on `synthetic` rows, made up from the training data and the model, so that no row leaves the
            database.
        sample_rows: how many rows are compared at most; 0 with `verify: synthetic` only: a usual number.
        tolerance: how far two scores of a row may be apart, as a share of the model's own.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    service: Literal["in_database"]
    way: DeclaredWay = "auto"
    verify: Verify = "sample"
    sample_rows: int = 1_000
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse to be another engine.

        Raises:
            DeclarationInvalid: another service is declared.
        """
        require_service("Engine in_database", self.service, "in_database")

    def check(self, declaration: str, source: SourceSpec | None, target_table: str, *, watches_drift: bool) -> None:
        """Refuse what cannot be.

        Args:
            declaration: whose engine it is, for the message.
            source: the rows of `from_query`; None: there is none.
            target_table: `write_back.table`.
            watches_drift: whether `drift` is declared.

        Raises:
            DeclarationInvalid: says which field.
        """
        if source is None:
            expected = "from_query in its place: engine in_database scores rows of a table where they are"
            raise DeclarationInvalid(declaration, "from_features", "the feature set", expected)
        database = target_table.partition(".")[0]
        if database != source.database:
            expected = f"a table of {source.database}, the database that from_query reads: no row leaves it"
            raise DeclarationInvalid(declaration, "write_back.table", target_table, expected)
        if watches_drift:
            expected = (
                "none with engine in_database: no rows come to where they are compared. Watch drift by an engine "
                "outside, or compare the scores in the table"
            )
            raise DeclarationInvalid(declaration, "drift", "declared", expected)
        if self.sample_rows < 0 or (self.sample_rows == 0 and self.verify == "sample"):
            expected = "1 or more; 0 is for verify: synthetic, where no row leaves the database"
            raise DeclarationInvalid(declaration, "engine.sample_rows", self.sample_rows, expected)
        if not 0 < self.tolerance <= 0.01:
            raise DeclarationInvalid(declaration, "engine.tolerance", self.tolerance, "more than 0, up to 0.01")

    def build_spec(self, model: str, choice: ModelChoice, source: SourceSpec, target: Target) -> InDatabaseSpec:
        """What the work is done by.

        Raises:
            DeclarationInvalid: the scores are to be written in batches.
        """
        if target.batch_rows is not None:
            expected = "none with engine in_database: it scores and writes in one transaction"
            raise DeclarationInvalid(f"Model {model}", "write_back.batch_rows", target.batch_rows, expected)
        return InDatabaseSpec(model, choice, source, target, self.way, self.verify, self.sample_rows, self.tolerance)
