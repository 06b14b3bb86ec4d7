"""One sensor for all that fails: it notes what is to be told, then tells it. A channel that is down stops nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from logging import Logger, LoggerAdapter
from typing import TYPE_CHECKING

import dagster as dg

from resources.alerts.channel import Channel, NotDelivered
from resources.alerts.channels import alerts_declared, read_channels
from resources.control import utc_now
from resources.errors import ResourceError
from resources.settings import ALERTS_REPEAT_HOURS
from sensors.failed_runs import find_failed_runs, find_last_failure
from sensors.failed_states import find_failed_backfills, find_well, read_states
from sensors.switches import sensor_status

if TYPE_CHECKING:
    from resources.alerts.register import AlertRegister

NAME = "alerts"
INTERVAL_SECONDS = 30
DELIVERY_SECONDS = 25.0
"""How long a tick may take to begin deliveries: each has ten seconds more, well below Dagster's limit of 60."""


def build_alert_sensor() -> dg.SensorDefinition:
    """The sensor; on in production, and wherever a channel is set."""

    @dg.sensor(
        name=NAME,
        description="Tells of failed runs, checks, ticks and backfills once, again while they last, and when they are "
        "well again: by mail, Teams, a Slack-style webhook, or in the log (`ADFML_ALERTS_...`).",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if alerts_declared() else sensor_status(),
        required_resource_keys={"control"},
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        assert context.repository_def is not None  # noqa: S101 - Dagster sets it in every tick
        started, now = time.monotonic(), utc_now()
        instance, graph = context.instance, context.repository_def.asset_graph
        register: AlertRegister = context.resources.control.alerts
        channels = read_channels()
        names = [channel.name for channel in channels]
        # What failed before anybody was to be told is not told.
        cursor = int(context.cursor) if context.cursor else find_last_failure(instance)
        found = find_failed_runs(instance, context.resources.control.ledger, cursor, now)
        states = read_states(instance, graph)
        backfills = list(find_failed_backfills(instance, now))
        repeat_after = timedelta(hours=ALERTS_REPEAT_HOURS.read_number())
        register.record([*found.failures, *states.failures, *backfills], names, repeat_after=repeat_after, now=now)
        incidents = register.list_open()
        well = find_well(instance, graph, incidents, states.well)
        resolved = register.resolve(well, names, now=now)
        # All is noted: a tick that is given up while it delivers loses nothing.
        context.update_cursor(str(found.cursor))
        sent = deliver(register, channels, started + DELIVERY_SECONDS, context.log)
        return dg.SkipReason(
            f"{len(found.failures)} failures of runs, {len(states.failures)} of checks and ticks; "
            f"{resolved} well again; {len(incidents) - resolved} open; {sent} messages sent."
        )

    return alerts


def deliver(register: AlertRegister, channels: Sequence[Channel], stop_at: float, log: Logger | LoggerAdapter) -> int:
    """Send what is due, within a time. Returns how many messages were taken.

    A channel that fails is left alone for the rest of the tick: it must not take the time of the others.
    """
    by_name = {channel.name: channel for channel in channels}
    down: list[str] = []
    sent = 0
    while time.monotonic() < stop_at and (message := register.claim(utc_now(), down)) is not None:
        channel = by_name.get(message.channel)
        try:
            if channel is None:
                raise NotDelivered(message.channel, "it is not set any more")
            channel.send(message.alert, message.id)
        except (NotDelivered, ResourceError) as error:
            down.append(message.channel)
            reason, wait = (error.reason, error.retry_after) if isinstance(error, NotDelivered) else (str(error), None)
            if register.postpone(message, reason, utc_now(), wait):
                log.warning("Channel %s did not take an alert (%s); it is tried again.", message.channel, reason)
            else:
                log.error("Channel %s never took: %s (%s).", message.channel, message.alert.title, reason)
        except Exception as error:
            # Whatever is wrong with one message must not keep the others; its text may be what is wrong.
            register.postpone(message, type(error).__name__, utc_now())
            log.exception("An alert could not be sent to %s", message.channel)
        else:
            register.mark_sent(message, utc_now())
            sent += 1
    return sent
