"""What the assets of a scored model are, in words: for their descriptions."""

from __future__ import annotations

from dataclasses import dataclass

from adfml_assets.about import About
from adfml_assets.scoring.predictions import Target
from adfml_assets.scoring.source_rows import SourceSpec

_SCORED_BY = {
    "databricks": "DatabricksJob activity `RunBatchScoring`",
    "azure_ml_batch": "WebActivity `InvokeBatchEndpoint`",
    "azure_ml_online": "WebActivity `ScoreRecord`",
    "in_database": "SqlServerStoredProcedure activities `InDatabaseMLScoring` and `RunPythonInSql`",
}
_WAITED_FOR_BY = {
    "databricks": "the waiting of DatabricksJob activity `RunBatchScoring`",
    "azure_ml_batch": "Until activity `WaitForBatchJob`",
}


@dataclass(frozen=True)
class ScoringTexts:
    """A scored model, as its descriptions name it.

    Attributes:
        model: its name.
        version: which version scores, in words.
        feature_set, source: where the records come from, one of the two.
        target: where the scores go.
        service: that scores.
    """

    model: str
    version: str
    feature_set: str | None
    source: SourceSpec | None
    target: Target
    service: str

    def describe_records(self) -> About:
        """The scoring input."""
        kept = "; what was read earlier on the day stays" if self.source is not None else ""
        return About(
            what=f"The records to be scored: {self._records}{kept}. They have exactly the features, in its order, of "
            f"{self.version}.",
            partition="a UTC day: a row a record, `RecordId` and the features.",
            materialising="decides, once, which version scores the day, and writes its features; categories that are "
            "new since the training count as `other` and are named.",
            failing="leaves the day's records as they were. Either the model was trained on other features than there "
            "are now (the error lists both), or the features of the day are not there: materialise them first.",
            activity="Copy activity `ExtractScoringData`",
        )

    def describe_job(self, title: str) -> About:
        """The job that scores."""
        return About(
            what=f"The scoring of a day's records, submitted as {title} for the version that they were made for.",
            partition="a UTC day: the job that scores its records.",
            materialising="submits the job once, whatever crashes, and ends when the service has it. A later change of "
            "champion changes nothing in it; a day without records submits none.",
            failing="means that the job was not submitted: the service's refusal is in the error. What the job itself "
            f"fails of fails the run of `ml/scores/{self.model}`, with the job's page.",
            activity=_SCORED_BY[self.service],
        )

    def describe_scores(self) -> About:
        """The scores."""
        online = self.service == "azure_ml_online"
        how = (
            "sends the records to the endpoint in micro-batches and waits for the answers."
            if online
            else "collects what the job left and verifies it: a finite score for every record, by the "
            "version asked for. Its run waits in Dagster's queue, without a process, until the job has ended."
        )
        failing = (
            "leaves the day's scores as they were: the endpoint's answer is in the error, and records the model "
            "refused are in `errors.parquet`."
            if online
            else "is the job's own (its error and its page are in the run), or the job left something else than was "
            "asked for. Mend the cause, then materialise the `_job` of the day again: it submits a new attempt."
        )
        return About(
            what="The scores of a day: one for every record"
            f"{' that the model did not refuse' if online else ''}, each naming its model, version, alias, feature "
            "snapshot and when it was scored.",
            partition="a UTC day: the scores of the day's records.",
            materialising=how,
            failing=failing,
            activity=_SCORED_BY[self.service] if online else _WAITED_FOR_BY[self.service],
        )

    def describe_write_back(self) -> About:
        """The table that the scores go to."""
        return About(
            what=f"The scores in `{self._table}`, upserted by {', '.join(self.target.keys)}.",
            partition="a UTC day: the rows that the day's scores are of.",
            materialising=f"writes {self._transactions}. Writing a day twice changes nothing, and {self._wins}."
            f"{self._marks}",
            failing="leaves the table as it was, or as the last whole batch left it; materialising the day again goes "
            "on there. The error names the column or the setting that is wrong.",
            activity="Copy activity `LoadScoresBackToSql` (upsert)",
        )

    def describe_in_database(self, sample_rows: int) -> About:
        """The table whose rows are scored where they are.

        Args:
            sample_rows: that leave the database to be compared, at most; 0: none.
        """
        but = (
            f" but {sample_rows} at most, on which compiled scores are compared with the model's own"
            if sample_rows
            else ""
        )
        return About(
            what=f"The scores in `{self._table}`, upserted by {', '.join(self.target.keys)}. The database scores them "
            f"itself: {self._records}, by {self.version}. No row leaves it{but}.",
            partition="a UTC day: the rows that were scored on it.",
            materialising="compares the model's SQL with the model, then scores and writes in one transaction."
            f"{self._marks} Only today can be scored.",
            failing="leaves the table as it was: the model does not compile for this server, or its scores differ, and "
            "the error says where. `adfml advise` says where else it can run.",
            activity=_SCORED_BY["in_database"],
        )

    @property
    def _table(self) -> str:
        return f"{self.target.database}.{self.target.schema}.{self.target.table}"

    @property
    def _records(self) -> str:
        if self.source is None:
            return f"the features of `{self.feature_set}` of the day's newest feature date"
        where = f" where {self.source.where}" if self.source.where else ""
        return f"the rows of `{self.source.database}.{self.source.schema}.{self.source.table}`{where}"

    @property
    def _transactions(self) -> str:
        rows = self.target.batch_rows
        return "in one transaction" if rows is None else f"in transactions of {rows:,} rows, which can be resumed"

    @property
    def _wins(self) -> str:
        if self.target.overwrite_newer:
            return "the day that is written last wins"
        return "an older day never overwrites a newer one"

    @property
    def _marks(self) -> str:
        source = self.source
        if source is None or source.scored_date is None:
            return ""
        table = f"{source.database}.{source.schema}.{source.table}"
        return f" `{source.scored_date}` of the scored rows of `{table}` is set."
