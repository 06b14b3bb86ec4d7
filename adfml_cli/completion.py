"""What a shell offers when TAB is pressed. Whatever is cheap to find out: nothing here loads the definitions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

_OFFERED_DAYS = 31


def complete_model(incomplete: str) -> list[str]:
    """Models that a defs.yaml declares."""
    from adfml_cli.declared import list_names

    return [name for name in list_names("TrainedModel", "ScoredModel") if name.startswith(incomplete)]


def complete_database(incomplete: str) -> list[str]:
    """Databases that a defs.yaml declares, or that the environment has an address of."""
    from adfml_cli.declared import list_databases

    return [name for name in list_databases() if name.startswith(incomplete)]


def complete_day(incomplete: str) -> list[str]:
    """Days that are partitions, the latest first: all that begin as told, or the last month."""
    from resources.errors import ResourceError
    from resources.settings import FIRST_DAY

    try:
        first = date.fromisoformat(FIRST_DAY.read())
    except (ResourceError, ValueError):
        return []  # a setting that is wrong is said by the command itself
    today = datetime.now(UTC).date()
    days = (today - timedelta(days=number) for number in range((today - first).days + 1))
    return [day for day in map(date.isoformat, days) if day.startswith(incomplete)][:_OFFERED_DAYS]


def complete_state(incomplete: str) -> list[str]:
    """States by which jobs are listed."""
    from adfml_cli.jobs import STATES

    return [state for state in STATES if state.startswith(incomplete)]


def complete_job(incomplete: str) -> list[str]:
    """Submission keys of the latest jobs in the ledger."""
    from resources.errors import ResourceError

    try:
        from resources.control import ControlDatabase

        jobs = ControlDatabase(connect_timeout_seconds=2).ledger.list_jobs(200)
    except ResourceError:
        return []  # said by the command itself
    return [job.submission_key for job in jobs if job.submission_key.startswith(incomplete)]


def complete_asset(incomplete: str) -> list[str]:
    """Assets that this deployment has materialised: its storage knows them, without loading any definition."""
    from adfml_cli.errors import CommandFailed
    from adfml_cli.workflow import open_instance

    try:
        with open_instance() as instance:
            keys = sorted(key.to_user_string() for key in instance.all_asset_keys())
    except CommandFailed:
        return []
    return [key for key in keys if key.startswith(incomplete)]


def complete_template(incomplete: str) -> list[str]:
    """Templates of pipelines."""
    from adfml_cli.new_pipeline import TAKES

    return [name for name in TAKES if name.startswith(incomplete)]
