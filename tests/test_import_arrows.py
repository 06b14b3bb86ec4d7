"""resources <- sensors <- adfml_assets <- adfml_cli; workloads alone, local_cloud above it. None imports upward."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "resources",
    "sensors",
    "adfml_assets",
    "workloads",
    "local_cloud",
    "adfml_cli",
    "demo",
    "tests",
    "benchmarks",
}
MAY_IMPORT = {
    "resources": {"resources"},
    "sensors": {"resources", "sensors"},
    "adfml_assets": {"resources", "sensors", "adfml_assets"},
    "workloads": {"workloads"},
    "local_cloud": {"workloads", "local_cloud"},
    "adfml_cli": {"resources", "sensors", "adfml_assets", "workloads", "adfml_cli"},
    "demo": PACKAGES - {"tests", "benchmarks"},
}


def imported_packages(path: Path) -> set[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.append(node.module)
    return {name.partition(".")[0] for name in names} & PACKAGES


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    wrong = {str(f.relative_to(ROOT)): imported_packages(f) - MAY_IMPORT[package] for f in files}
    assert {file: packages for file, packages in wrong.items() if packages} == {}


def test_no_file_is_longer_than_400_lines() -> None:
    files = [f for p in [*MAY_IMPORT, "tests"] for f in (ROOT / p).rglob("*.py")]
    assert {str(f.relative_to(ROOT)) for f in files if len(f.read_text().splitlines()) > 400} == set()
