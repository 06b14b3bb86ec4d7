"""What all declarations have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.about import About, extend_options
from adfml_assets.code_references import refer_to_functions
from adfml_assets.errors import DeclarationInvalid
from resources.key_vault import is_secret_name

STRICT = ConfigDict(extra="forbid")
"""Fields nobody knows are mistakes, not ignored (`adfml_assets.declarations` checks by it)."""


@dataclass
class Schedule(dg.Resolvable):
    """When the assets are materialised. Partitions stay UTC days, whatever the time zone.

    Attributes:
        cron: a cron expression.
        timezone: an IANA name.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    cron: str
    timezone: str = "UTC"


def require_secret_name(declaration: str, field: str, name: str | None) -> None:
    """Make sure that what names a Key Vault secret can be a name.

    Raises:
        DeclarationInvalid: it cannot. It is not repeated: somebody may have put the value where the name belongs.
    """
    if name is not None and not is_secret_name(name):
        raise DeclarationInvalid(
            declaration, field, "(not shown)", "the name of a Key Vault secret (letters, digits and -)"
        )


def require_service(engine: str, found: str, expected: str) -> None:
    """Make sure that an engine is the one that is declared: Dagster tries one after the other until none complains.

    Raises:
        DeclarationInvalid: another service is declared.
    """
    if found != expected:
        raise DeclarationInvalid(engine, "service", found, expected)


def build_options(
    about: About,
    *,
    adf_pipeline: str | None,
    partitions: dg.PartitionsDefinition,
    group: str,
    kinds: set[str],
    owners: Sequence[str],
    functions: Sequence[str] = (),
) -> dict[str, Any]:
    """The keyword arguments of `dg.asset` that say what an asset is and to whom it belongs.

    Args:
        functions: `package.module.function` of the declaration, which the asset page links beside the defs.yaml.
    """
    said = extend_options(about.build_options(adf_pipeline), metadata=refer_to_functions(functions))
    return {
        **said,
        "partitions_def": partitions,
        "group_name": group,
        "kinds": kinds,
        "owners": list(owners),
    }
