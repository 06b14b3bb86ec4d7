"""Where an asset is declared and made: links of its page to the defs.yaml, the user's function, and this project's."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import dagster as dg

from adfml_assets import failures
from resources.errors import SettingInvalid
from resources.settings import GIT_BRANCH, GIT_URL

KEY = "dagster/code_references"
"""The metadata under which Dagster looks for them."""

PROJECT = Path(__file__).resolve().parent.parent
CodeReference = dg.LocalFileCodeReference | dg.UrlCodeReference

_AZURE_REPOS = ("dev.azure.com", ".visualstudio.com")

# Dagster 1.13 calls all of its code references beta, and the way to put them onto loaded assets a preview.
for _name in (
    "LocalFileCodeReference",
    "UrlCodeReference",
    "CodeReferencesMetadataValue",
    "with_source_code_references",
):
    warnings.filterwarnings("ignore", message=f".*`{_name}`", category=dg.BetaWarning)
warnings.filterwarnings("ignore", message=r".*Definitions\.map_(resolved_)?asset_specs`", category=dg.PreviewWarning)


def refer_to_functions(functions: Sequence[str]) -> dict[str, Any]:
    """Metadata that links functions, named as `package.module.function`; their modules are read, not imported.

    What is not there is left out: the declaration's own check says it.
    """
    found: list[CodeReference] = [one for name in functions if (one := _find_function(name)) is not None]
    return {KEY: dg.CodeReferencesMetadataValue(code_references=found)} if found else {}


def refer_to_file(path: Path, label: str) -> dict[str, Any]:
    """Metadata that links a file."""
    reference = dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=label)
    return {KEY: dg.CodeReferencesMetadataValue(code_references=[reference])}


def _find_function(name: str) -> dg.LocalFileCodeReference | None:
    module, _, function = name.rpartition(".")
    try:
        spec = importlib.util.find_spec(module)
        tree = ast.parse(Path(str(spec and spec.origin)).read_text(encoding="utf-8"))
    except (ImportError, ValueError, OSError, SyntaxError):
        return None
    lines = [node.lineno for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    if not lines or spec is None or spec.origin is None:
        return None
    return dg.LocalFileCodeReference(file_path=spec.origin, line_number=lines[-1], label=".".join(name.split(".")[-2:]))


def add_code_references(definitions: dg.Definitions) -> dg.Definitions:
    """Link every asset to the function here that materialises it, after what its declaration links.

    With ADFML_GIT_URL all links lead into the repository's pages in place of files of this machine.

    Raises:
        SettingInvalid: ADFML_GIT_URL is no repository's address.
    """
    repository = GIT_URL.read().rstrip("/")
    if repository:
        _require_address(repository)
    found: dict[dg.AssetKey, list[Any]] = {}
    assets = [one for one in definitions.assets or () if isinstance(one, dg.AssetsDefinition)]
    for referred in dg.with_source_code_references(assets):
        assert isinstance(referred, dg.AssetsDefinition)  # noqa: S101 - as what went in
        for key, metadata in referred.metadata_by_key.items():
            references = [_unwrap(referred, one) for one in metadata[KEY].code_references]
            found[key] = [_to_link(one, repository) for one in references]

    def refer(spec: dg.AssetSpec) -> dg.AssetSpec:
        if spec.key not in found:
            return spec
        return spec.merge_attributes(metadata={KEY: dg.CodeReferencesMetadataValue(code_references=found[spec.key])})

    return definitions.map_asset_specs(func=refer)


def _unwrap(assets: dg.AssetsDefinition, reference: Any) -> Any:
    """A reference to an asset's own body where Dagster found the function around it, which is every asset's."""
    if getattr(reference, "file_path", None) != failures.__file__:
        return reference
    body = inspect.unwrap(assets.op.compute_fn.decorated_fn)  # type: ignore[union-attr]  # @dg.asset has made it
    return dg.LocalFileCodeReference(file_path=body.__code__.co_filename, line_number=body.__code__.co_firstlineno)


def _to_link(reference: Any, repository: str) -> CodeReference:
    """A reference with a label; as a page of the repository, where there is one and the file is in the project."""
    if isinstance(reference, dg.UrlCodeReference):
        return reference
    path, line = Path(reference.file_path).resolve(), reference.line_number
    inside = path.is_relative_to(PROJECT)
    place = path.relative_to(PROJECT).as_posix() if inside else path.as_posix()
    # The page cuts what is longer than a few words.
    label = reference.label or path.name
    if not repository or not inside:
        return dg.LocalFileCodeReference(file_path=str(path), line_number=line, label=label)
    return dg.UrlCodeReference(url=build_page(repository, GIT_BRANCH.read(), place, line), label=label)


def build_page(repository: str, branch: str, place: str, line: int | None) -> str:
    """The page of a file in a repository of GitHub, GitLab or Azure Repos.

    Args:
        place: the file's path in the repository.
        line: to be shown; None: the file's top.
    """
    host = urlsplit(repository).netloc
    if host.endswith(_AZURE_REPOS):
        shown = f"&line={line}&lineEnd={line + 1}&lineStartColumn=1&lineEndColumn=1" if line else ""
        return f"{repository}?path=/{quote(place)}&version=GB{quote(branch, safe='')}{shown}"
    tree = "-/blob" if "gitlab" in host else "blob"
    return f"{repository}/{tree}/{quote(branch)}/{quote(place)}{f'#L{line}' if line else ''}"


def _require_address(repository: str) -> None:
    address = urlsplit(repository)
    if address.scheme not in ("http", "https") or not address.netloc or "@" in address.netloc:
        raise SettingInvalid(GIT_URL.name, f"the address of a repository's page without a user, as {GIT_URL.example}")
