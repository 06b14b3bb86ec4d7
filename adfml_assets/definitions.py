"""The code location: loads defs/ and binds resources. Touches no network and no database."""

from pathlib import Path

import dagster as dg

from adfml_assets.declarations import check_declarations
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase
from resources.database import Databases
from resources.databricks import Databricks
from resources.lake import Lake
from sensors.remote_job_sensor import build_remote_job_sensor


@dg.definitions
def defs() -> dg.Definitions:
    """Everything this deployment declares."""
    check_declarations(Path(__file__).parent / "defs")
    declared = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    bound = dg.Definitions(
        resources={
            "databases": Databases(),
            "lake": Lake(),
            "control": ControlDatabase(),
            "completion_log": CompletionLog(),
            "databricks": Databricks(),
        },
        sensors=[build_remote_job_sensor("databricks")],
        # A process a step would import everything anew: seconds a table. Parallel work is threads inside an asset.
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(declared, bound)
