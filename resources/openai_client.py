"""The client of the Azure OpenAI resource at ADFML_OPENAI_ENDPOINT, and its errors in this package's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from resources.errors import OutcomeUnknown, QuotaExceeded, Refused, ResourceError, Unreachable
from resources.openai_states import NO_ROOM
from resources.redaction import redact
from resources.secret_values import read_secret_value
from resources.settings import OPENAI_ENDPOINT, OPENAI_KEY

if TYPE_CHECKING:
    from openai import OpenAI

SERVICE = "Azure OpenAI"
SCOPE = "https://cognitiveservices.azure.com/.default"
_CONNECT_SECONDS = 10.0


class KeyRefused(Refused):
    """The service takes this key, or this identity, no longer or not at all."""


def build_client(request_timeout_seconds: float, secret: str | None) -> OpenAI:
    """The SDK's client, signed in with a key where one is set and with the Azure identity of the process otherwise.

    It repeats nothing by itself: the SDK would wait up to two minutes for a Retry-After, longer than a sensor's tick
    may take, and would create a batch a second time when the answer to the first request is lost.

    Args:
        request_timeout_seconds: how long one request may take.
        secret: the Key Vault secret that a declaration names for the key; None: ADFML_OPENAI_KEY, else the identity.

    Raises:
        SettingMissing: ADFML_OPENAI_ENDPOINT.
        SettingInvalid, Refused, Unreachable: the Key Vault's, where the key is a secret of it.
    """
    import openai

    endpoint = OPENAI_ENDPOINT.read()
    key: Any = read_secret_value(OPENAI_KEY, secret)
    if not key:
        from azure.identity import DefaultAzureCredential, get_bearer_token_provider

        key = get_bearer_token_provider(DefaultAzureCredential(), SCOPE)
    timeout = openai.Timeout(request_timeout_seconds, connect=_CONNECT_SECONDS)
    return openai.OpenAI(base_url=endpoint, api_key=key, timeout=timeout, max_retries=0)


@contextmanager
def translated(submission_key: str | None = None, secret: str | None = None) -> Iterator[None]:
    """Turn the SDK's errors into this package's.

    Args:
        submission_key: of a submission: no answer to it means that its outcome is unknown.
        secret: the Key Vault secret that a declaration names for the key, for messages.
    """
    try:
        yield
    except ResourceError:
        raise
    except Exception as error:
        raise translate_error(error, submission_key, secret) from None


def translate_error(error: Exception, submission_key: str | None, secret: str | None = None) -> Exception:
    """This package's error for one of the SDK's, its transport's or azure-identity's; others come back as they are."""
    import httpx2
    import openai
    from azure.core.exceptions import ClientAuthenticationError

    address = OPENAI_ENDPOINT.read()
    if isinstance(error, ClientAuthenticationError):
        advice = f"the managed identity, or {OPENAI_KEY.name}"
        return Refused("The Azure identity", address, error.message, advice)
    if isinstance(error, openai.APIStatusError):
        return _translate_status(error, address, submission_key, secret)
    if isinstance(error, openai.APIResponseValidationError | openai.APIConnectionError | httpx2.HTTPError):
        return _translate_connection(error, address, submission_key)
    if isinstance(error, ValueError) and submission_key is None:
        # An answer that was cut short is no JSON.
        return Unreachable(SERVICE, address, f"an answer that cannot be read: {error}", "the network")
    if isinstance(error, ValueError):
        return OutcomeUnknown(str(submission_key), SERVICE, f"an answer that cannot be read: {error}")
    return error


def _translate_status(error: Any, address: str, submission_key: str | None, secret: str | None) -> ResourceError:
    status = int(error.status_code)
    # What a service says of a wrong key may hold it.
    reason = f"{redact(_read_message(error))} (status {status})"
    # str(error) does not hold the code.
    code = str(error.code or "").lower()
    if code in NO_ROOM or status == 429:
        return QuotaExceeded(SERVICE, address, reason)
    if status >= 500 or status in (408, 409):
        if submission_key is not None:
            return OutcomeUnknown(submission_key, SERVICE, reason)
        return Unreachable(SERVICE, address, reason, "whether the service has a failure")
    if status == 401:
        holder = (
            f"the declaration's secret {secret!r}" if secret else f"{OPENAI_KEY.name} (or {OPENAI_KEY.secret_name})"
        )
        return KeyRefused(SERVICE, address, reason, f"{holder}, and that it is a key of this resource and region")
    return Refused(SERVICE, address, reason, _advise(status, code))


def _advise(status: int, code: str) -> str:
    if status == 403:
        return "that the identity has the role Cognitive Services OpenAI User on the resource"
    if code in ("deploymentnotfound", "model_not_found"):
        return "engine.deployment in the declaration"
    if status in (404, 405):
        return f"{OPENAI_ENDPOINT.name}: expected an address such as {OPENAI_ENDPOINT.example}"
    return f"the declaration's engine, and {OPENAI_ENDPOINT.name}"


def _translate_connection(error: Exception, address: str, submission_key: str | None) -> ResourceError:
    import httpx2

    cause = error.__cause__ or error
    reason = f"{type(cause).__name__}: {cause}".rstrip(": ")
    unsent = isinstance(cause, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol))
    if submission_key is not None and not unsent:
        return OutcomeUnknown(submission_key, SERVICE, reason)
    return Unreachable(SERVICE, address, reason, f"{OPENAI_ENDPOINT.name}, and the network")


def _read_message(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    code, message = body.get("code"), body.get("message")
    text = ": ".join(str(part) for part in (code, message) if part)
    return text or str(error.message)
