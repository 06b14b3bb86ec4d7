"""What can be declared in a defs.yaml."""

from adfml_assets.components.archived_database import ArchivedDatabase
from adfml_assets.components.detected_anomalies import DetectedAnomalies
from adfml_assets.components.end_to_end_workflow import EndToEndWorkflow
from adfml_assets.components.feature_set import FeatureSet
from adfml_assets.components.scored_model import ScoredModel
from adfml_assets.components.scored_text import ScoredText
from adfml_assets.components.trained_model import TrainedModel

__all__ = [
    "ArchivedDatabase",
    "DetectedAnomalies",
    "EndToEndWorkflow",
    "FeatureSet",
    "ScoredModel",
    "ScoredText",
    "TrainedModel",
]
