"""Where an online endpoint is, how one signs in to it, and how much it is sent at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

from resources.addresses import is_safe
from resources.errors import ResourceError


class TargetInvalid(ResourceError):
    """What was said of an online endpoint cannot be: `field` is wrong."""

    def __init__(self, field: str, found: object, expected: str) -> None:
        self.field = field
        self.found = found
        self.expected = expected
        super().__init__(f"Online endpoint: {field} is {found!r}; expected {expected}.")


@dataclass(frozen=True)
class OnlineTarget:
    """An Azure ML online endpoint: by its scoring URI, or by its name in the workspace.

    Attributes:
        endpoint: its name in the workspace ADFML_AZURE_ML_WORKSPACE, which is asked for the scoring URI.
        scoring_uri: its address, `https://<endpoint>.<region>.inference.ml.azure.com/score`.
        deployment: the deployment that is to answer; None: as the endpoint's traffic rules have it.
        secret: the name of the Key Vault secret that holds the endpoint's key; None: ADFML_AZURE_ML_KEY, and without
            it the identity of the process (Azure ML, "Authenticate clients for online endpoints").
    """

    endpoint: str | None = None
    scoring_uri: str | None = None
    deployment: str | None = None
    secret: str | None = None

    def __post_init__(self) -> None:
        """Raise TargetInvalid for what cannot be."""
        if (self.endpoint is None) == (self.scoring_uri is None):
            found = f"{self.endpoint} and {self.scoring_uri}" if self.endpoint else "missing, and so is scoring_uri"
            raise TargetInvalid("endpoint", found, "one of the two: the endpoint's name, or its scoring_uri")
        if self.scoring_uri is not None:
            check_uri(self.scoring_uri)

    @property
    def field(self) -> str:
        """The field that says where the endpoint is, for messages."""
        return "scoring_uri" if self.endpoint is None else "endpoint"


def check_uri(uri: str) -> str:
    """A scoring URI that a key may be sent to: encrypted, or on this machine. Returns it.

    Raises:
        TargetInvalid: it is none.
    """
    if not is_safe(uri):
        expected = "an address such as https://<endpoint>.<region>.inference.ml.azure.com/score (https: a key is sent)"
        raise TargetInvalid("scoring_uri", uri, expected)
    return uri


@dataclass(frozen=True)
class OnlineLimits:
    """How much an endpoint is sent, and how long it may take.

    The service allows all deployments of a managed endpoint together 5 MB/s, 500 requests/s and 500 connections, and
    a request 180 s at most, 5 s unless the deployment's `request_timeout_ms` says more (Azure ML, "Manage and increase
    quotas and limits", "Managed online deployment YAML schema"). It works on at most
    2 x max_concurrent_requests_per_instance x instances requests at once, and answers 429 to more ("Troubleshoot
    online endpoints").

    Attributes:
        rows_per_request: rows of a micro-batch at most.
        bytes_per_request: size of its JSON at most, but for a single row that is larger.
        concurrency: requests under way at once; fewer while the endpoint answers 429.
        request_seconds: how long one answer is waited for.
        retry_seconds: how long one micro-batch is sent again after 408, 429, 5xx, or a broken connection.
    """

    rows_per_request: int = 1000
    bytes_per_request: int = 1_000_000
    concurrency: int = 4
    request_seconds: float = 190.0
    retry_seconds: float = 120.0

    def __post_init__(self) -> None:
        """Raise TargetInvalid for what cannot be."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise TargetInvalid(field.name, value, "a number above 0")
        if self.concurrency > 500:
            raise TargetInvalid("concurrency", self.concurrency, "at most 500, the service's limit of connections")
