"""What is declared of an Azure OpenAI batch: the model, the prompt, the form of its answers, limits and prices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.components.declaration import STRICT, require_secret_name
from adfml_assets.errors import DeclarationInvalid
from resources.openai_requests import MAX_BYTES, MAX_ROWS

_DECLARATION = "OpenAI batch engine"
_VERBATIM = dg.Resolver.passthrough()
"""As it is written: Dagster would put its own values into a template's `{{ }}` (and nothing where it has none), and
would read an enum's "1" as a number."""


@dataclass
class TokenPrice(dg.Resolvable):
    """What a deployment costs outside of batches; a batch costs half of it.

    Attributes:
        input: of a million input tokens.
        output: of a million output tokens.
        currency: of both, for the metadata.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    input: float
    output: float
    currency: str = "USD"


@dataclass
class OpenAIBatchEngine(dg.Resolvable):
    """An Azure OpenAI batch: half the price of single calls, done within 24 hours.

    Attributes:
        service: `openai_batch`.
        deployment: the deployment of type Global Batch or Data Zone Batch.
        template: what the model is asked of a row: a Jinja2 template over the table's columns. NULL becomes nothing.
        answer_schema: the JSON schema of an answer, written out or as a file beside the defs.yaml. An object; the
            service is asked for answers that obey it (structured output), and those that do not are rejected.
        system: the system message, the same for every row; none: there is none.
        max_output_tokens: an answer longer than this is cut off and rejected.
        temperature: None: the model's own; models that reason take no other.
        row_tries: how often a row is asked whose answer cannot be used, in all.
        max_tries: how often a batch is tried that the service failed to run, and how often a row may be left over by
            batches that expired.
        rows_per_shard: rows of one batch at most; the service takes 100,000.
        megabytes_per_shard: of one batch's file at most; the service takes 200.
        deadline_hours: after this wall-clock time a batch is cancelled and has failed. It may wait for quota that long.
        expiry_days: after this many days the service deletes files of ours that are still there, 14 to 30.
        price: for the cost in the metadata; None: only tokens are shown.
        secret: the name of the Key Vault secret that holds the resource's key; None: ADFML_OPENAI_KEY, or the managed
            identity. Batches that were sent go on with the name they were sent with.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    deployment: str
    template: Annotated[str, _VERBATIM]
    answer_schema: Annotated[Mapping[str, Any] | str, _VERBATIM]
    service: Literal["openai_batch"] = "openai_batch"
    system: Annotated[str | None, _VERBATIM] = None
    max_output_tokens: int = 500
    temperature: float | None = 0.0
    row_tries: int = 3
    max_tries: int = 3
    rows_per_shard: int = 100_000
    megabytes_per_shard: float = 200.0
    deadline_hours: float = 72.0
    expiry_days: int = 14
    price: TokenPrice | None = None
    secret: str | None = None

    def __post_init__(self) -> None:
        """Raise DeclarationInvalid for what cannot be."""
        require_secret_name(_DECLARATION, "secret", self.secret)
        megabytes = MAX_BYTES // 1_000_000
        for field, possible, expected in (
            ("rows_per_shard", 1 <= self.rows_per_shard <= MAX_ROWS, f"1 to {MAX_ROWS}"),
            (
                "megabytes_per_shard",
                0 < self.megabytes_per_shard <= megabytes,
                f"a number above 0, up to {megabytes}",
            ),
            ("expiry_days", 14 <= self.expiry_days <= 30, "14 to 30; the service takes no other"),
            ("row_tries", self.row_tries >= 1, "1 or more"),
            ("max_tries", self.max_tries >= 1, "1 or more"),
            ("max_output_tokens", self.max_output_tokens >= 1, "1 or more"),
        ):
            if not possible:
                raise DeclarationInvalid(_DECLARATION, field, getattr(self, field), expected)
