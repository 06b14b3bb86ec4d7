"""How known errors end a run: in a sentence and with where to read on, at the top of the run's page, not in a stack."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import dagster as dg

from resources.help import HELP_PAGE, DocumentedError, build_help_url

P = ParamSpec("P")
R = TypeVar("R")


def tell_failures(body: Callable[P, R]) -> Callable[P, R]:
    """The body of an asset, op or check whose known errors fail its step as `dg.Failure`; others pass as they are.

    Dagster shows a failure's own words first, and those of any other exception below a stack.
    """

    if inspect.isgeneratorfunction(body):
        # Dagster looks whether it is one, too.
        @functools.wraps(body)
        def yields(*arguments: Any, **named: Any) -> Iterator[Any]:
            with _telling():
                yield from body(*arguments, **named)

        return cast("Callable[P, R]", yields)

    @functools.wraps(body)
    def returns(*arguments: P.args, **named: P.kwargs) -> R:
        with _telling():
            return body(*arguments, **named)

    return returns


def describe_help(errors: Iterable[BaseException]) -> dict[str, Any]:
    """Where docs/operations.md says what to do about errors: as links where it is published, else by name."""
    anchors = {type(error).__name__: error.anchor for error in errors if isinstance(error, DocumentedError)}
    # Markdown would be behind a click.
    return {
        "what_to_do" if len(anchors) == 1 else f"what_to_do ({name})": _refer(anchor)
        for name, anchor in sorted(anchors.items())
    }


def _refer(anchor: str) -> dg.MetadataValue:
    url = build_help_url(anchor)
    return dg.MetadataValue.url(url) if url else dg.MetadataValue.text(f"{HELP_PAGE}#{anchor}")


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except DocumentedError as error:
        metadata = {"error": type(error).__name__, **describe_help([error])}
        raise dg.Failure(str(error), metadata=metadata) from error
