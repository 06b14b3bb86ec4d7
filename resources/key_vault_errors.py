"""What Key Vault and azure-identity say when they fail, as errors that say which setting to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from resources.errors import Refused, ResourceError, Unreachable
from resources.redaction import redact
from resources.settings import CA_BUNDLE, KEY_VAULT_URL

_SERVICE = "Key Vault"
_ROLE = "that the identity has the role Key Vault Secrets User on the vault"
_FIREWALL = "that the vault's firewall (Networking) lets this machine in"
_SIGN_IN = "that this machine has a managed identity, or az login"
_MESSAGE_CHARACTERS = 400
_TRANSIENT = {408, 429, 500, 502, 503, 504}


@contextmanager
def explain_errors(vault: str, name: str, setting: str) -> Iterator[None]:
    """Turn what the SDK raises in this block into errors of this package; all others pass.

    Args:
        vault: its address.
        name: of the secret.
        setting: what names the secret, for messages.

    Raises:
        Refused, Unreachable: as they are.
    """
    from azure.core.exceptions import AzureError

    try:
        yield
    except ResourceError:
        raise
    except (AzureError, ValueError) as error:
        raise explain(error, vault, name, setting) from None


def explain(error: Exception, vault: str, name: str, setting: str) -> ResourceError:
    """The error of this package for one of azure-core's, azure-identity's or the challenge's."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError

    if isinstance(error, ClientAuthenticationError) and not _is_from(error, vault):
        reason = f"no identity could sign in ({type(error).__name__}: {_shorten(error.message)})"
        return Refused(_SERVICE, vault, reason, _SIGN_IN)
    if isinstance(error, ResourceNotFoundError) and _read_code(error) in ("SecretNotFound", ""):
        return Refused(_SERVICE, vault, f"it has no secret {name!r}", setting)
    if isinstance(error, HttpResponseError) and error.status_code:
        return _explain_answer(error, error.status_code, vault, name, setting)
    if isinstance(error, ValueError):
        # The challenge is not a vault's, or its resource is not of the vault's domain.
        return Refused(_SERVICE, vault, f"it is no Key Vault ({_shorten(str(error))})", KEY_VAULT_URL.name)
    return _explain_silence(error, vault)


def _explain_answer(error: Any, status: int, vault: str, name: str, setting: str) -> ResourceError:
    code, inner = _read_code(error), _read_inner_code(error)
    said = f"status {status} {inner or code}: {_read_message(error)}"
    if inner == "SecretDisabled":
        return Refused(_SERVICE, vault, f"secret {name!r}: {said}", f"{setting}, or enable the secret")
    if status in _TRANSIENT:
        return Unreachable(_SERVICE, vault, said, "the vault's limits and state, and try again later")
    if status == 401:
        return Refused(_SERVICE, vault, said, "that the identity is of the vault's tenant")
    if status == 403:
        return Refused(
            _SERVICE, vault, f"secret {name!r}: {said}", _FIREWALL if inner == "ForbiddenByFirewall" else _ROLE
        )
    if status == 404:
        return Refused(_SERVICE, vault, f"it is no Key Vault ({said})", KEY_VAULT_URL.name)
    return Refused(_SERVICE, vault, f"secret {name!r}: {said}", setting)


def _explain_silence(error: Exception, vault: str) -> Unreachable:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = "its certificate is of no authority that is trusted"
        return Unreachable(_SERVICE, vault, reason, f"{KEY_VAULT_URL.name}, and {CA_BUNDLE.name} behind a proxy")
    reasons = {
        "resolve": "the name does not resolve",
        "refused": "connection refused",
        "timed out": "no answer in time",
    }
    reason = next((said for part, said in reasons.items() if part in text), f"{type(error).__name__}: {_shorten(text)}")
    return Unreachable(_SERVICE, vault, reason, f"{KEY_VAULT_URL.name} and the network")


def _is_from(error: Any, vault: str) -> bool:
    """Whether an error is an answer of the vault, not of an identity service."""
    request = getattr(error.response, "request", None)
    return request is not None and str(request.url).startswith(f"{vault}/")


def _read_code(error: Any) -> str:
    return str(getattr(error.error, "code", "") or "")


def _read_inner_code(error: Any) -> str:
    inner = getattr(error.error, "innererror", None) or {}
    return str(inner.get("code", ""))


def _read_message(error: Any) -> str:
    return _shorten(getattr(error.error, "message", None) or error.message)


def _shorten(text: str) -> str:
    """A message as one line, not too long."""
    line = redact(" ".join(text.split()))
    return line if len(line) <= _MESSAGE_CHARACTERS else f"{line[:_MESSAGE_CHARACTERS]}..."
