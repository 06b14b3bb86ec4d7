"""The code location: loads defs/ and binds resources. Touches no network and no database."""

import warnings
from pathlib import Path

import dagster as dg

from adfml_assets.automation import find_follow_days, let_assets_follow
from adfml_assets.code_references import add_code_references
from adfml_assets.declarations import check_declarations
from resources.azure_ml_batch import AzureMlBatch
from resources.azure_ml_online import AzureMlOnline
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase
from resources.database import Databases
from resources.databricks import Databricks
from resources.key_vault import KeyVault
from resources.lake import Lake
from resources.language import Language
from resources.openai_batch import OpenAIBatch
from sensors.alert_sensor import build_alert_sensor
from sensors.pool_sensor import build_pool_sensor
from sensors.remote_job_sensor import build_remote_job_sensor

REMOTE_SERVICES = ("databricks", "azure_ml_batch", "openai_batch")
"""The resources that run remote jobs: each is polled by a sensor of its own."""


@dg.definitions
def defs() -> dg.Definitions:
    """Everything this deployment declares."""
    folder = Path(__file__).parent / "defs"
    check_declarations(folder)
    tree = dg.ComponentTree.for_project(path_within_project=folder)
    # Not `load_from_defs_folder`: it imports every package there is that has components, Azure's storage among them, to
    # list them in the UI. That is more than a second in each process that starts a run.
    with warnings.catch_warnings():
        # What is in beta or preview is pinned, and tested with just this version.
        for kind in (dg.BetaWarning, dg.PreviewWarning):
            warnings.simplefilter("ignore", kind)
        declared = tree.build_defs(folder)
    declared = let_assets_follow(declared, find_follow_days(declared.jobs or []))
    lake = Lake()
    bound = dg.Definitions(
        component_tree=tree,
        resources={
            "databases": Databases(),
            "lake": lake,
            "control": ControlDatabase(),
            "completion_log": CompletionLog(),
            "databricks": Databricks(),
            "azure_ml_batch": AzureMlBatch(),
            "azure_ml_online": AzureMlOnline(),
            "openai_batch": OpenAIBatch(lake=lake),
            "language": Language(),
            "key_vault": KeyVault(),
        },
        sensors=[
            *(build_remote_job_sensor(service) for service in REMOTE_SERVICES),
            build_alert_sensor(),
            build_pool_sensor(),
        ],
        # A process a step would import everything anew: seconds a table. Parallel work is threads inside an asset.
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(add_code_references(declared), bound)
