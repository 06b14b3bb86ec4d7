"""What the assets of scored texts are, in words: for their descriptions."""

from __future__ import annotations

from collections.abc import Sequence

from adfml_assets.about import About
from adfml_assets.text.results import PREDICTIONS, REJECTS

BATCH_TEXTS = {
    "model": "The model that answered, as the service names it.",
    "deployment": "The deployment that was asked.",
    "custom_id": "Under which the row was asked about.",
    "scored_at": "When it was answered, UTC.",
    "input_tokens": "What it was billed for.",
    "output_tokens": "What it was billed for.",
}
"""What the columns beside key and answer are, in words."""

LANGUAGE_TEXTS = {
    "sentiment": "positive, neutral, negative or mixed.",
    "positive": "Confidence, 0 to 1.",
    "neutral": "Confidence, 0 to 1.",
    "negative": "Confidence, 0 to 1.",
    "characters": "Of the text; what is billed goes by them.",
    "text_records": "What it is billed as: one for each 1,000 characters begun.",
    "parts": "Into how many the text was cut.",
    "model_version": "The version of the service's model.",
    "code": "Why it could not be scored; NULL where it was.",
    "reason": "The same in words.",
    "scored_at": "When, UTC.",
}
"""The same, of Azure AI Language."""


def describe_requests(deployment: str, source: str) -> About:
    """What a language model is asked."""
    return About(
        what=f"What `{deployment}` is asked about each row of `{source}`, submitted as Azure OpenAI batches.",
        partition="a UTC day: the rows of the day's snapshot that have no answer yet.",
        materialising="writes the requests and submits the batches once, whatever crashes, and ends. Rows that have an "
        "answer from before are not asked about again, and cost nothing; `again: true` in the config asks anew.",
        failing="means that no batch was submitted: the snapshot is missing, or the service refused. Nothing was paid "
        "for; materialise the day again.",
        activity="WebActivities `UploadBatchInput` and `CreateBatchJob`; Lookup `GetRecordBatches`",
    )


def describe_answers(deployment: str) -> About:
    """What it answered."""
    return About(
        what=f"The answers of `{deployment}`, one row each in columns (`{PREDICTIONS}`), and the rows without a usable "
        f"one, with the reason (`{REJECTS}`).",
        partition="a UTC day: every row that was asked about on it, in one of the two files.",
        materialising="collects the answers and verifies that none is missing. Its run waits in Dagster's queue, "
        "without a process, until all batches have ended.",
        failing="is a batch's own: its error and id are in the run. What was answered is kept; materialise the `_job` "
        "of the day again, which asks for the rest only.",
        activity="Until activity `WaitForBatchCompletion`",
    )


def describe_sentiment(text: str, source: str, scored: str, page_rows: int) -> About:
    """What Azure AI Language says."""
    return About(
        what=f"The sentiment of `{text}` in `{source}`, by Azure AI Language: rows with `{scored}` = 0.",
        partition="a UTC day: what was scored on it, by all of its runs.",
        materialising=f"reads, scores and writes back in pages of {page_rows} rows. Only today can be scored.",
        failing="loses nothing that was paid for: the next run goes on where this one was. The service's answer is in "
        "the error.",
        activity="`ForEach_ScoreBatch` with WebActivity `CallAIService` (`AnalyzeSentiment`)",
    )


def describe_written(table: str, columns: Sequence[str], how: str = "in one transaction") -> About:
    """The columns of the table that they go to."""
    return About(
        what=f"The answers in {', '.join(columns)} of `{table}`.",
        partition="a UTC day: the rows that were answered on it.",
        materialising=f"sets the columns by key, {how}. Writing a day twice changes nothing.",
        failing="leaves the table as it was; the error names the column or the key that does not fit.",
        activity="SqlServerStoredProcedure activity `WriteScoreBack` (`usp_UpdateSentiment`)",
    )
