"""What the deployment declares: every defs.yaml, each declaration by itself, so that a wrong one hides no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from adfml_cli.doctor.findings import Finding, Notes

if TYPE_CHECKING:
    from adfml_assets.components.batch_endpoint import BatchEndpoint
    from adfml_assets.components.language_engine import LanguageEngine
    from adfml_assets.components.online_endpoint import OnlineEndpoint
    from adfml_assets.components.openai_batch_engine import OpenAIBatchEngine
    from adfml_assets.components.remote_engine import RemoteEngine

T = TypeVar("T")

_NOTES = Notes("definitions")


@dataclass(frozen=True)
class Declared:
    """The components that are declared, by what they are.

    Attributes:
        components: with the words that say whose they are in messages, such as `model sales_forecast`.
    """

    components: Sequence[tuple[str, Any]] = field(default_factory=tuple)

    def of(self, kind: type[T]) -> list[tuple[str, T]]:
        """The components of a class."""
        return [(what, one) for what, one in self.components if isinstance(one, kind)]

    def find_engines(self, kind: type[T]) -> list[tuple[str, T]]:
        """The engines of a class, with whose they are."""
        engines = [(what, getattr(one, "engine", None)) for what, one in self.components]
        return [(what, engine) for what, engine in engines if isinstance(engine, kind)]

    @property
    def databricks(self) -> list[tuple[str, RemoteEngine]]:
        """Jobs on Databricks."""
        from adfml_assets.components.remote_engine import RemoteEngine

        return self.find_engines(RemoteEngine)

    @property
    def batch_endpoints(self) -> list[tuple[str, BatchEndpoint]]:
        """Azure ML batch endpoints."""
        from adfml_assets.components.batch_endpoint import BatchEndpoint

        return self.find_engines(BatchEndpoint)

    @property
    def online_endpoints(self) -> list[tuple[str, OnlineEndpoint]]:
        """Azure ML online endpoints."""
        from adfml_assets.components.online_endpoint import OnlineEndpoint

        return self.find_engines(OnlineEndpoint)

    @property
    def openai(self) -> list[tuple[str, OpenAIBatchEngine]]:
        """Azure OpenAI batches."""
        from adfml_assets.components.openai_batch_engine import OpenAIBatchEngine

        return self.find_engines(OpenAIBatchEngine)

    @property
    def language(self) -> list[tuple[str, LanguageEngine]]:
        """Azure AI Language."""
        from adfml_assets.components.language_engine import LanguageEngine

        return self.find_engines(LanguageEngine)


def read_declarations(folder: Path) -> tuple[Declared, list[Finding]]:
    """Every declaration below a folder, and a finding for each that is wrong."""
    from adfml_assets.declarations import find_mistakes

    components: list[tuple[str, Any]] = []
    findings: list[Finding] = []
    for file in sorted(folder.rglob("defs.yaml")):
        mistakes = list(find_mistakes(file))
        findings += [
            _NOTES.failed(f"{file.parent.name}/{file.name}:{one.line}", f"{one.field}: {one.expected}", "Correct it.")
            for one in mistakes
        ]
        broken = {one.line for one in mistakes}
        for start, stop, kind, attributes in _read_documents(file):
            if any(start <= line < stop for line in broken):
                continue  # said already; the other documents of the file are looked at all the same
            try:
                component = kind.resolve_from_dict(dict(attributes))
            except Exception as error:
                findings.append(_NOTES.error(f"{file.parent.name}/{file.name}:{start}", error))
                continue
            components.append((_name(kind, component), component))
    return Declared(tuple(components)), findings


def _read_documents(file: Path) -> Iterator[tuple[int, int, Any, Mapping[str, Any]]]:
    """First line, line after the last, class and attributes of each document that declares a component of ours."""
    import yaml

    from adfml_assets import components

    try:
        nodes = list(yaml.compose_all(file.read_text("utf-8"), yaml.SafeLoader))
        documents = list(yaml.safe_load_all(file.read_text("utf-8")))
    except yaml.YAMLError:
        return  # a mistake that is said already
    for node, document in zip(nodes, documents, strict=True):
        declared = document if isinstance(document, dict) else {}
        package, _, name = str(declared.get("type", "")).rpartition(".")
        if node is None or package != components.__name__ or name not in components.__all__:
            continue
        stop = node.end_mark.line + 2
        yield node.start_mark.line + 1, stop, getattr(components, name), declared.get("attributes") or {}


def _name(kind: type, component: Any) -> str:
    words = {
        "ArchivedDatabase": "archive of",
        "FeatureSet": "feature set",
        "TrainedModel": "training of",
        "ScoredModel": "scores of",
        "ScoredText": "scored text",
        "DetectedAnomalies": "anomalies of",
    }
    names = getattr(component, "databases", None) or [
        getattr(component, "database", None) or getattr(component, "name", "")
    ]
    return f"{words.get(kind.__name__, kind.__name__)} {', '.join(names)}"
