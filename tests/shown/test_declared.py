"""Before anything is materialised, every asset says what it is, whose it is, what it replaces, where its code is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml

from adfml_assets import components
from adfml_assets.code_references import KEY, PROJECT, add_code_references, build_page
from adfml_assets.definitions import defs
from resources.errors import SettingInvalid

COMMON = {"adf_pipeline": "PL_Mine", "owners": ["team:data"]}
HERE = "adfml_assets.defs.PL_ML_Training_Databricks.spend.build"
LABEL = {"name": "spent", "function": HERE, "tables": {"transactions": "shop.main.Lines"}, "days": 3, "baseline": "a"}
QUERY = {"table": "shop.dbo.Waiting", "key": "Id", "where": "ScoredDate IS NULL", "scored_date": "ScoredDate"}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sql": ("FeatureSet", {"name": "s", "tables": {"t": "a.b.c"}, "key": "k", "sql": "s.sql"}),
    "spark": ("FeatureSet", {"name": "s", "tables": {"t": "a.b.c"}, "key": "k", "function": HERE, "engine": "spark"}),
    "databricks features": (
        "FeatureSet",
        {"name": "s", "tables": {"t": "a.b.c"}, "key": "k", "function": HERE, "engine": {"job": "features"}},
    ),
    "trained on a table": (
        "TrainedModel",
        {
            "name": "m",
            "from_query": {"table": "shop.dbo.TrainingFeatures", "key": "Id", "time": "At"},
            "label": {"column": "y", "days": 3, "baseline": "a"},
            "engine": {"service": "azure_ml_batch", "endpoint": "train", "kind": "pipeline"},
            "registered_model": "m",
            "experiment": "/m",
        },
    ),
    "batch endpoint": (
        "ScoredModel",
        {"name": "m", "from_features": "f", "engine": {"service": "azure_ml_batch", "endpoint": "score"}},
    ),
    "online endpoint": (
        "ScoredModel",
        {"name": "m", "from_query": QUERY, "engine": {"service": "azure_ml_online", "endpoint": "score"}},
    ),
    "in the database": ("ScoredModel", {"name": "m", "from_query": QUERY, "engine": {"service": "in_database"}}),
    "language": (
        "ScoredText",
        {"name": "t", "source": "shop.dbo.Feedback", "key": ["Id"], "text": "Text", "engine": {"service": "language"}},
    ),
}


def build_others(folder: Path) -> Iterator[dg.AssetsDefinition]:
    (folder / "s.sql").write_text("SELECT 1 AS k, DATE '2026-01-01' AS feature_date")
    for name, attributes in OTHERS.values():
        target = {"write_back": {"table": "shop.dbo.Predictions"}} if name == "ScoredModel" else {}
        text = yaml.safe_dump({**attributes, **target, **COMMON})
        component = getattr(components, name).resolve_from_yaml(text)
        built = component.build_defs(SimpleNamespace(path=folder))
        yield from add_code_references(built).assets or ()


def list_specs(definitions: list[Any]) -> dict[str, dg.AssetSpec]:
    """By what they are; the same key may be declared in several ways."""
    found = {}
    for at, assets in enumerate(definitions):
        for spec in assets.specs:
            found[f"{spec.key.to_user_string()} #{at}"] = spec
    return found


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dg.AssetSpec]:
    declared = [one for one in defs().assets or () if isinstance(one, dg.AssetsDefinition)]
    return list_specs([*declared, *build_others(tmp_path_factory.mktemp("others"))])


def test_all_kinds_of_assets_are_looked_at(specs: dict[str, dg.AssetSpec]) -> None:
    folders = {"/".join(spec.key.path[:2]) for spec in specs.values() if spec.key.path[0] == "ml"}
    roots = {spec.key.path[0] for spec in specs.values()}
    assert roots == {"archive", "incremental", "current", "feature_store", "ml", "database"}
    kinds = ("training_data", "models", "champions", "scoring_input", "scores", "drift", "text_scores", "anomalies")
    assert folders == {f"ml/{kind}" for kind in kinds}


def test_each_says_what_it_is_what_a_partition_is_what_happens_and_what_a_failure_means(
    specs: dict[str, dg.AssetSpec],
) -> None:
    for name, spec in specs.items():
        text = spec.description or ""
        first, *rest = text.split("\n\n")
        assert len(first) > 30, name
        assert first.endswith("."), name
        for part in ("- **A partition** is ", "- **Materialising** ", "- **A failure** "):
            assert len(text.partition(part)[2].partition("\n")[0]) > 30, (name, part)
        assert rest[-1].startswith("ADF: "), name


def test_each_names_its_counterpart_in_adf(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        pipeline = spec.metadata["adf_pipeline"]
        assert spec.tags["adf/pipeline"] == pipeline, name
        assert f"ADF: `{pipeline}`: {spec.metadata['adf_activity']}." in (spec.description or ""), name


def test_each_has_owners_a_group_and_kinds_that_have_icons(specs: dict[str, dg.AssetSpec]) -> None:
    import dagster_webserver

    chunks = Path(dagster_webserver.__file__).parent / "webapp/build/_next/static/chunks"
    pattern = re.compile(r'[,{]"?([a-z0-9_]+)"?:\{icon:')
    icons = {kind for file in chunks.glob("*.js") for kind in pattern.findall(file.read_text(errors="replace"))}
    assert "databricks" in icons
    for name, spec in specs.items():
        assert spec.owners, name
        assert spec.group_name not in (None, "default"), name
        assert spec.kinds, name
        assert set(spec.kinds) <= icons, name


def test_each_leads_to_its_declaration_and_to_the_code_that_materialises_it(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        references = spec.metadata[KEY].code_references
        for reference in references:
            lines = Path(reference.file_path).read_text().splitlines()
            assert 1 <= reference.line_number <= len(lines), name
            assert reference.label, name
        body = references[-1]
        assert body.file_path.startswith(str(PROJECT / "adfml_assets")), name
        assert "failures.py" not in body.file_path, name
        line = Path(body.file_path).read_text().splitlines()[body.line_number - 1]
        assert line.lstrip().startswith(("@dg.asset", "@dg.multi_asset")), (name, line)


def test_what_is_declared_in_yaml_leads_to_its_line_and_to_the_users_function(specs: dict[str, dg.AssetSpec]) -> None:
    declared = [spec for spec in specs.values() if spec.metadata["adf_pipeline"] != "PL_Mine"]
    for spec in declared:
        found = [one for one in spec.metadata[KEY].code_references if one.file_path.endswith("defs.yaml")]
        assert len(found) == 1, spec.key
        line = Path(found[0].file_path).read_text().splitlines()[found[0].line_number - 1]
        assert line.startswith("type: adfml_assets.components."), spec.key
    functions = {
        spec.key.to_user_string(): spec.metadata[KEY].code_references[0]
        for spec in declared
        if spec.key.path[0] == "feature_store" or spec.key.path[1] == "training_data"
    }
    assert len(functions) == 3
    for key, reference in functions.items():
        line = Path(reference.file_path).read_text().splitlines()[reference.line_number - 1]
        assert line.startswith("def build("), key


def test_a_definition_in_sql_leads_to_its_file(specs: dict[str, dg.AssetSpec]) -> None:
    files = {one.file_path.rpartition("/")[2] for spec in specs.values() for one in spec.metadata[KEY].code_references}
    assert "s.sql" in files


@pytest.mark.parametrize(
    ("repository", "page"),
    [
        ("https://github.com/o/r", "https://github.com/o/r/blob/release%201/adfml_assets/a.py#L7"),
        ("https://gitlab.example.com/o/r", "https://gitlab.example.com/o/r/-/blob/release%201/adfml_assets/a.py#L7"),
        (
            "https://dev.azure.com/o/p/_git/r",
            "https://dev.azure.com/o/p/_git/r?path=/adfml_assets/a.py&version=GBrelease%201"
            "&line=7&lineEnd=8&lineStartColumn=1&lineEndColumn=1",
        ),
    ],
)
def test_the_pages_of_repositories(repository: str, page: str) -> None:
    assert build_page(repository, "release 1", "adfml_assets/a.py", 7) == page


def test_with_a_repository_all_code_is_linked_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADFML_GIT_URL", "https://github.com/o/r/")
    monkeypatch.setenv("ADFML_GIT_BRANCH", "live")
    specs = list_specs(list(build_others(tmp_path)))
    urls = {one.url for spec in specs.values() for one in spec.metadata[KEY].code_references if hasattr(one, "url")}
    assert "https://github.com/o/r/blob/live/adfml_assets/defs/PL_ML_Training_Databricks/spend.py#L9" in urls
    assert all(url.startswith("https://github.com/o/r/blob/live/adfml_assets/") for url in urls)


@pytest.mark.parametrize("value", ["git@github.com:o/r.git", "https://me:token@github.com/o/r"])
def test_an_address_that_is_no_page_or_holds_a_user_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ADFML_GIT_URL", value)
    with pytest.raises(SettingInvalid, match="ADFML_GIT_URL is not valid") as refused:
        add_code_references(dg.Definitions())
    assert "token" not in str(refused.value)
    assert "git@" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("sqlite:///shop.sqlite", "sqlite"),
        ("duckdb:///shop.duckdb", "duckdb"),
        ("postgresql+psycopg://user@host/db", "postgres"),
        ("mssql+mssqlpython://@server:1433/db?Encrypt=yes", "sqlserver"),
        ("", "sql"),
    ],
)
def test_a_database_has_its_own_icon_where_its_address_is_at_hand(
    monkeypatch: pytest.MonkeyPatch, url: str, kind: str
) -> None:
    from adfml_assets.about import find_database_kind

    monkeypatch.setenv("ADFML_SHOP_URL", url)
    assert find_database_kind("shop") == kind
