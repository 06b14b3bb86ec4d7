"""`adfml doctor` beside a daemon that runs, as a user calls it: all is well."""

from __future__ import annotations

import json

import pytest

from tests.daemon.conftest import Site

pytestmark = pytest.mark.slow


def test_the_doctor_finds_all_well_where_the_daemon_runs(site: Site) -> None:
    def all_beat() -> bool:
        beats = site.instance.get_daemon_heartbeats()
        return all(name in beats for name in site.instance.get_required_daemon_types())

    site.wait("heartbeats", all_beat)
    done = site.run_command("adfml", "doctor", "--json", "--timeout", "60")
    report = json.loads(done.stdout)
    assert [one for one in report["findings"] if one["status"] == "failed"] == []
    assert done.returncode == 0
