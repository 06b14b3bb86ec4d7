"""Addresses that a key or a token may be sent to."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine, where the local cloud and the emulators are."""
    return host in _LOOPBACK


def is_safe(address: str | SplitResult) -> bool:
    """Whether what is sent there travels encrypted, or does not leave this machine."""
    try:
        parts = urlsplit(address) if isinstance(address, str) else address
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
