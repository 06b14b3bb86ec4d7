"""The table of requests, on SQLite and PostgreSQL: at most one outstanding, each version once, an outcome once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from resources.control import ControlDatabase
from resources.retrainings import Retraining, Retrainings
from tests.postgresql_server import RunningPostgresql, run_postgresql

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[RunningPostgresql]:
    with run_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def requests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Retrainings]:
    if request.param == "sqlite":
        yield ControlDatabase().retrainings
        return
    with request.getfixturevalue("postgresql").database() as url:
        monkeypatch.setenv("ADFML_CONTROL_URL", url.render_as_string(hide_password=False))
        yield ControlDatabase().retrainings


def ask(requests: Retrainings, now: datetime = NOW, model: str = "spend") -> Retraining | None:
    return requests.request(model, "ml/models/spend", ["1", "x"], reason="seen", cooldown=7 * DAY, now=now)


def test_requests_follow_each_other_one_at_a_time(requests: Retrainings) -> None:
    first = ask(requests)
    assert first == Retraining("spend", "2", NOW, "seen")
    assert requests.find_outstanding("spend") == requests.find("spend", "2") == first
    # Even when the cool-down is over.
    assert ask(requests, NOW + 30 * DAY) is None
    assert requests.end("spend", "2", "refused", NOW + DAY)
    assert not requests.end("spend", "2", "promoted", NOW + 2 * DAY)
    assert requests.find("spend", "2") == Retraining("spend", "2", NOW, "seen", None, NOW + DAY, "refused")
    assert requests.find_outstanding("spend") is None
    assert ask(requests, NOW + 6 * DAY) is None
    second = ask(requests, NOW + 7 * DAY)
    assert second is not None
    assert second.version == "3"
    other = ask(requests, model="other")
    assert other is not None
    assert other.version == "2"
    assert [one.version for one in requests.list_all("spend")] == ["3", "2"]


def test_of_many_that_ask_at_once_one_gets_a_request(requests: Retrainings) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(requests), range(16)))
    assert [one.version for one in answers if one is not None] == ["2"]
    assert len(requests.list_all("spend")) == 1


def test_a_backfill_is_named_once_before_it_is_launched(requests: Retrainings) -> None:
    assert requests.name_backfill("spend", "2", "abc") is None
    ask(requests)
    assert requests.name_backfill("spend", "2", "abc") == "abc"
    assert requests.name_backfill("spend", "2", "xyz") == "abc"
    requests.end("spend", "2", "failed", NOW)
    assert requests.name_backfill("spend", "2", "xyz") is None
