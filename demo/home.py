"""Where a demo keeps everything: source database, lake, control database, local cloud and Dagster's own storage."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DEMOS = PROJECT / ".demo"
_LAST = DEMOS / "last"


@dataclass(frozen=True)
class DemoHome:
    """A demo's folder. The sample and each data file have one of their own: a partition never mixes two shops."""

    folder: Path

    @property
    def shop(self) -> Path:
        """The source database, SQLite."""
        return self.folder / "shop.sqlite"

    @property
    def lake(self) -> Path:
        """The lake: a folder for each container."""
        return self.folder / "lake"

    @property
    def control(self) -> Path:
        """The control database: ledger, intervals, aliases."""
        return self.folder / "control.sqlite"

    @property
    def cloud(self) -> Path:
        """The local cloud's state."""
        return self.folder / "cloud"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME."""
        return self.folder / "dagster"

    @property
    def logs(self) -> Path:
        """Logs of the processes that the demo starts."""
        return self.folder / "logs"

    def prepare(self) -> None:
        """Make the folders and put the project's dagster.yaml into DAGSTER_HOME."""
        for folder in (self.lake, self.dagster, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / "dagster.yaml", self.dagster / "dagster.yaml")

    def environment(self) -> dict[str, str]:
        """The settings of this demo, without the local cloud's."""
        return {
            **os.environ,
            "DAGSTER_HOME": str(self.dagster),
            "ADFML_SHOP_URL": f"sqlite:///{self.shop}",
            "ADFML_LAKE": str(self.lake),
            "ADFML_CONTROL_URL": f"sqlite:///{self.control}",
            # A path of this machine, or a token, of somebody's own setting would send the demo elsewhere.
            "ADFML_DATABRICKS_TOKEN": "",
            "ADFML_DATABRICKS_RESOURCE_ID": "",
        }


def find_home(data: Path | None, customers: int, seed: int) -> DemoHome:
    """The folder of a demo over a data file, or over a sample of a size and seed."""
    name = f"sample-{customers}-{seed}" if data is None else data.stem
    return DemoHome(DEMOS / name)


def remember_home(home: DemoHome) -> None:
    """Make a demo the last one: the one that `make ui` opens."""
    _LAST.parent.mkdir(parents=True, exist_ok=True)
    _LAST.write_text(str(home.folder))


def find_last_home() -> DemoHome | None:
    """The demo that ran last, if any."""
    return DemoHome(Path(_LAST.read_text())) if _LAST.is_file() else None
