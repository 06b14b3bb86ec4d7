"""What watches a database for tables that nobody declared: an ephemeral table that is not archived is data lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import dagster as dg

from resources.control import utc_now
from resources.database import Databases
from resources.servers.base import TableName
from sensors.switches import sensor_status

INTERVAL_SECONDS = 300


def build_new_tables_sensor(
    database: str, list_new: Callable[[Databases], Sequence[TableName]], job: dg.JobDefinition | None
) -> dg.SensorDefinition:
    """A sensor that lists a database's tables, in one query, and reports those the code location does not know.

    Args:
        database: its name.
        list_new: the tables that are chosen by the declaration's patterns and not known, sorted.
        job: what archives them at once, at most once a day and set of tables; None: they are only reported.
    """

    @dg.sensor(
        name=f"new_tables_of_{database}",
        job=job,
        description=f"Looks for tables of `{database}` that the patterns choose and the code location does not know."
        + (" Archives them at once." if job else " Reports them."),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(),
        required_resource_keys={"databases"},
    )
    def new_tables(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        found = [str(name) for name in list_new(context.resources.databases)]
        if not found:
            return dg.SkipReason(f"No new tables in {database}.")
        listed = json.dumps(found)
        text = f"New tables in {database}: {', '.join(found)}. Reload the code location to declare them by its patterns"
        if listed != context.cursor:
            context.log.warning("%s.", text)
        if job is None:
            context.update_cursor(listed)
            return dg.SkipReason(f"{text}; nothing of them is archived until then.")
        digest = hashlib.sha256(listed.encode()).hexdigest()[:16]
        key = f"{database}:{utc_now():%Y-%m-%d}:{digest}"
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key)], cursor=listed)

    return new_tables
