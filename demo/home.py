"""Where a demo keeps everything: source database, lake, control database, local cloud and Dagster's own storage."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DEMOS = Path(os.environ.get("ADFML_DEMO_FOLDER", PROJECT / ".demo")).absolute()
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

    @property
    def first_day(self) -> str:
        """The first day of the daily partitions."""
        return self._first_day.read_text()

    @property
    def _first_day(self) -> Path:
        return self.folder / "first_day"

    def prepare(self, earlier_days: int = 0) -> None:
        """Make the folders and put the project's dagster.yaml into DAGSTER_HOME.

        Args:
            earlier_days: how many days before today the partitions begin, where this is the demo's first run.
        """
        for folder in (self.lake, self.dagster, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / "dagster.yaml", self.dagster / "dagster.yaml")
        if not self._first_day.is_file():
            self._first_day.write_text(f"{datetime.now(UTC) - timedelta(days=earlier_days):%Y-%m-%d}")

    def environment(self) -> dict[str, str]:
        """The settings of this demo, without the local cloud's."""
        secrets = [name for name in os.environ if name.startswith("ADFML_") and name.endswith("_SECRET")]
        return {
            **os.environ,
            "DAGSTER_HOME": str(self.dagster),
            "ADFML_SHOP_URL": f"sqlite:///{self.shop}",
            "ADFML_LAKE": str(self.lake),
            "ADFML_FIRST_DAY": self.first_day,
            "ADFML_CONTROL_URL": f"sqlite:///{self.control}",
            # A path of this machine, or a token, of somebody's own setting would send the demo elsewhere.
            **dict.fromkeys(secrets, ""),
            "ADFML_DATABRICKS_TOKEN": "",
            "ADFML_DATABRICKS_RESOURCE_ID": "",
            "ADFML_OPENAI_KEY": "",
        }


def find_home(data: Path | None, customers: int, seed: int) -> DemoHome:
    """The folder of a demo over a data file's content, or over a sample of a size and seed.

    Raises:
        FileNotFoundError: the data file does not exist.
    """
    if data is None:
        return DemoHome(DEMOS / f"sample-{customers}-{seed}")
    if not data.is_file():
        raise FileNotFoundError(f"There is no file {data}: expected the invoices as a Parquet file (DATA=path).")
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return DemoHome(DEMOS / f"{data.stem}-{digest[:8]}")


def remember_home(home: DemoHome) -> None:
    """Make a demo the last one: the one that `make ui` opens."""
    _LAST.parent.mkdir(parents=True, exist_ok=True)
    _LAST.write_text(str(home.folder))


def find_last_home() -> DemoHome | None:
    """The demo that ran last, if any."""
    return DemoHome(Path(_LAST.read_text())) if _LAST.is_file() else None
