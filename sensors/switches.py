"""Whether what happens by itself starts as on: in production, or where ADFML_SCHEDULES says so.

What somebody turned on or off in the UI stays so. The sensors that poll remote jobs are always on: they start nothing,
they finish what was started.
"""

from __future__ import annotations

import dagster as dg

from resources.environment import read_environment


def schedule_status() -> dg.DefaultScheduleStatus:
    """How a schedule starts.

    Raises:
        SettingInvalid: ADFML_ENVIRONMENT or ADFML_SCHEDULES.
    """
    return dg.DefaultScheduleStatus.RUNNING if read_environment().schedules_on else dg.DefaultScheduleStatus.STOPPED


def sensor_status() -> dg.DefaultSensorStatus:
    """How a sensor that starts runs starts.

    Raises:
        SettingInvalid: ADFML_ENVIRONMENT or ADFML_SCHEDULES.
    """
    return dg.DefaultSensorStatus.RUNNING if read_environment().schedules_on else dg.DefaultSensorStatus.STOPPED
