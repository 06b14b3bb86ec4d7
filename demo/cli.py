"""The demo's commands: run the whole workflow on this machine, and open Dagster's UI on what it left."""

from __future__ import annotations

import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from demo.home import DemoHome, find_home, find_last_home, remember_home
from demo.processes import ProcessFailed, require_alive, run_in_background
from demo.services import run_services
from demo.shop_schema import ShopError
from local_cloud.errors import LocalCloudError
from resources.errors import ResourceError

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console(soft_wrap=True)
VERSION = "1"


@app.command()
def run(
    data: Annotated[
        Path | None, typer.Option(help="Real invoices (UCI Online Retail, Parquet) instead of the sample.")
    ] = None,
    customers: Annotated[
        int, typer.Option(min=50, help="Customers of the sample shop; of fewer than 300 the gate may refuse the model.")
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the sample shop.")] = 7,
    earlier_days: Annotated[
        int, typer.Option(min=0, max=30, help="Days before today that were archived already; of a new demo only.")
    ] = 4,
) -> None:
    """Archive, features, training, scoring and write-back of a shop, through Dagster's daemon and the local cloud."""
    from adfml_cli.errors import WorkflowFailed

    started = time.monotonic()
    _stop_cleanly_on_termination()
    try:
        home = find_home(data, customers, seed)
        home.prepare(earlier_days)
        remember_home(home)
        _load_shop(home, data, customers, seed)
        agrees = _run_graph(home)
    except (ProcessFailed, WorkflowFailed, ShopError, LocalCloudError, ResourceError, OSError) as error:
        console.print("The demo failed.", style="red")
        console.print(str(error), markup=False, highlight=False)
        raise typer.Exit(1) from None
    console.print(f"Done in {time.monotonic() - started:.0f} s; no process is left running.")
    if not agrees:
        raise typer.Exit(1)


@app.command()
def ui(
    data: Annotated[
        Path | None, typer.Option(help="The data file of the demo to open; without it the last demo.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the UI on this machine.")] = 3000,
) -> None:
    """Dagster's UI on a demo, with the daemon and the local cloud, until Ctrl-C."""
    _stop_cleanly_on_termination()
    home = find_home(data, 1000, 7) if data else find_last_home()
    if home is None or not home.dagster.is_dir():
        console.print("There is no demo yet: run `make demo` first.")
        raise typer.Exit(1)
    home.prepare()
    with run_services(home) as services:
        log = home.logs / "webserver.log"
        command = ["dagster_webserver", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
        with run_in_background("The web server", command, services.environment, log) as server:
            console.print(f"Dagster's UI: http://127.0.0.1:{port}   (Ctrl-C ends it)", highlight=False)
            try:
                while True:
                    require_alive("The web server", server, log)
                    time.sleep(1)
            except KeyboardInterrupt:
                console.print("Stopping.")
            except ProcessFailed as error:
                console.print(str(error), markup=False)
                raise typer.Exit(1) from None


def _stop_cleanly_on_termination() -> None:
    # A shell's background job ignores SIGINT and hands that on: this process obeys it all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # As with Ctrl-C: what was started is stopped before this process ends.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))


def _load_shop(home: DemoHome, data: Path | None, customers: int, seed: int) -> None:
    from demo.online_retail import ensure_online_retail
    from demo.sample_shop import ensure_sample_shop

    _say("Source database ...")
    if data is None:
        summary = ensure_sample_shop(home.shop, customers=customers, seed=seed)
    else:
        summary = ensure_online_retail(data, home.shop)
    rows = ", ".join(f"{name} {count:,}" for name, count in summary.rows.items())
    _say(f"Source database {home.shop}: {rows}")


def _run_graph(home: DemoHome) -> bool:
    import dagster as dg

    from demo.earlier_days import archive_earlier_days
    from demo.summary import show_summary
    from demo.workflow_run import run_groups, run_workflow

    day = datetime.now(UTC).strftime("%Y-%m-%d")
    _say("Local cloud and Dagster's daemon ...")
    with run_services(home) as services, dg.DagsterInstance.get() as instance:
        archive_earlier_days(instance, home, _say)
        for mode in ("train", "score"):
            _say(f"PL_EndToEnd_ML_Workflow, mode {mode}, {day}")
            run_workflow(instance, mode, day, VERSION, _say, services.require_alive)
        _say(f"PL_BatchAIScoring and PL_DetectAnomalies, {day}")
        run_groups(instance, ("text", "anomalies"), day, _say, services.require_alive)
        console.print()
        return show_summary(console, instance, home, day)


def _say(text: str) -> None:
    console.print(f"{datetime.now():%H:%M:%S}  {text}", highlight=False)
