"""`engine: {service: azure_ml_online, ...}`: a model behind an Azure ML online endpoint."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.components.declaration import STRICT, require_secret_name, require_service
from adfml_assets.errors import DeclarationInvalid
from resources.azure_ml_online_target import OnlineLimits, OnlineTarget, TargetInvalid


@dataclass
class OnlineEndpoint(dg.Resolvable):
    """An online endpoint that scores while the run waits: for days with few records (the pattern `ScoreRecord`).

    Attributes:
        service: `azure_ml_online`.
        endpoint: the endpoint's name in the workspace ADFML_AZURE_ML_WORKSPACE, which is asked for its address.
        scoring_uri: its address instead (the activity's url), such as
            `https://<endpoint>.<region>.inference.ml.azure.com/score`.
        deployment: the deployment that is to answer (the header azureml-model-deployment); without it the endpoint's
            traffic rules decide. Which version of the model it runs is the deployment's affair.
        secret: the name of the Key Vault secret that holds the endpoint's key; without it ADFML_AZURE_ML_KEY, and
            without that the managed identity (the activity's authentication MSI).
        rows_per_request: rows of a micro-batch at most.
        bytes_per_request: size of its JSON at most, in bytes; the service allows an endpoint 5 MB/s.
        concurrency: requests under way at once; fewer while the endpoint answers 429.
        request_seconds: how long one answer is waited for; the service itself gives up after 180 s at most.
        retry_seconds: how long a micro-batch is sent again after 408, 429, 5xx or a lost connection.
        max_error_share: the share of the records, from 0 to 1, that the model may refuse. They are kept with the reason
            in errors.parquet beside the scores; with more of them the run fails and nothing is visible.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    service: Literal["azure_ml_online"]
    endpoint: str | None = None
    scoring_uri: str | None = None
    deployment: str | None = None
    secret: str | None = None
    rows_per_request: int = 1000
    bytes_per_request: int = 1_000_000
    concurrency: int = 4
    request_seconds: float = 190.0
    retry_seconds: float = 120.0
    max_error_share: float = 0.01

    def __post_init__(self) -> None:
        """Refuse to be another engine.

        Raises:
            DeclarationInvalid: another service is declared.
        """
        require_service("Engine azure_ml_online", self.service, "azure_ml_online")

    def check(self, declaration: str) -> None:
        """Refuse what cannot be.

        Args:
            declaration: whose engine it is, for the message.

        Raises:
            DeclarationInvalid: says which field.
        """
        require_secret_name(declaration, "engine.secret", self.secret)
        try:
            self.build_target()
            self.build_limits()
        except TargetInvalid as error:
            raise DeclarationInvalid(declaration, f"engine.{error.field}", error.found, error.expected) from None

    def build_target(self) -> OnlineTarget:
        """Where the endpoint is.

        Raises:
            TargetInvalid: neither or both of endpoint and scoring_uri, or an address that no key may be sent to.
        """
        return OnlineTarget(self.endpoint, self.scoring_uri, self.deployment, self.secret)

    def build_limits(self) -> OnlineLimits:
        """How much it is sent at once.

        Raises:
            TargetInvalid: a number that cannot be.
        """
        if not 0 <= self.max_error_share <= 1:
            raise TargetInvalid("max_error_share", self.max_error_share, "a share from 0 to 1")
        return OnlineLimits(
            self.rows_per_request, self.bytes_per_request, self.concurrency, self.request_seconds, self.retry_seconds
        )
