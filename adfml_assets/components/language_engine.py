"""Sentiment by Azure AI Language: what a `ScoredText` says of it in YAML."""

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.components.declaration import STRICT, require_secret_name


@dataclass
class SentimentColumns(dg.Resolvable):
    """The columns of the table that the scores go to: what the pipelines' usp_UpdateSentiment wrote.

    Attributes:
        sentiment: positive, neutral, negative or mixed.
        positive: confidence, 0 to 1.
        neutral: confidence, 0 to 1.
        negative: confidence, 0 to 1.
        scored: 0: to be scored; 1: scored; the engine's `error_mark`: it cannot be scored.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    sentiment: str = "Sentiment"
    positive: str = "ConfidencePositive"
    neutral: str = "ConfidenceNeutral"
    negative: str = "ConfidenceNegative"
    scored: str = "scored"


@dataclass
class LanguageEngine(dg.Resolvable):
    """Sentiment by Azure AI Language (the pipeline PL_BatchAIScoring), page by page.

    It works on the live table that the declaration's `source` names, not on its snapshot: rows with `scored` = 0 (and
    those of them that `where` picks, in the SQL of that database) are read by key, scored and updated in place. There
    is no `write_back` beside it.

    Attributes:
        service: `language`.
        language: of all texts, as the service names it (`en`, `de`, `pt-BR`).
        language_column: a column with each row's own language; where it is NULL or empty, `language` holds.
        columns: where the scores go.
        error_mark: what `scored` becomes where a text cannot be scored (empty, too long, refused by the service), so
            that it is not sent again every day; null: it stays 0, and the next run tries it again.
        long_texts: `split`: texts over 5,120 characters are cut at sentences and their parts' scores combined;
            `report`: they are reported and not scored.
        page_rows: rows that are read, scored and written back together: what a killed run may have to send again.
        concurrency: requests under way at once.
        model_version: of the service's model; `latest`, or a date.
        api_version: of the service; None: the resource's.
        secret: the Key Vault secret that holds the service's key; None: ADFML_LANGUAGE_KEY, or the managed identity.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    service: Literal["language"] = "language"
    language: str = "en"
    language_column: str | None = None
    columns: SentimentColumns = field(default_factory=SentimentColumns)
    error_mark: int | None = -1
    long_texts: Literal["split", "report"] = "split"
    page_rows: int = 1000
    concurrency: int = 8
    model_version: str = "latest"
    api_version: str | None = None
    secret: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError or DeclarationInvalid for what cannot be."""
        require_secret_name("Language engine", "secret", self.secret)
        for name in ("page_rows", "concurrency"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number above 0.")
        if self.error_mark in (0, 1):
            raise ValueError(f"error_mark is {self.error_mark}: 0 means to be scored and 1 scored; expected another.")
        names = [getattr(self.columns, column.name) for column in fields(SentimentColumns)]
        if len({name.casefold() for name in names}) < len(names):
            raise ValueError(f"columns names one column twice: {', '.join(names)}.")
