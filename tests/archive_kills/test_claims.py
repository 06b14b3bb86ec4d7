"""Claims: of two runs that write one partition the later claim's copy stands, whoever commits last."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from resources.claims import Claim, Claims
from resources.control import build_control_engine
from tests.archive.conftest import postgresql as postgresql
from tests.conftest import NOW

ASSET = "archive/shop/main/Bookings"
THREADS = 10


@pytest.fixture(params=["sqlite", "postgresql"])
def claims(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Claims]:
    if request.param == "sqlite":
        engine = build_control_engine(f"sqlite:///{tmp_path}/claims.sqlite")
        yield Claims(engine)
        engine.dispose()
        return
    with request.getfixturevalue("postgresql").database() as url:
        engine = build_control_engine(url.render_as_string(hide_password=False))
        yield Claims(engine)
        engine.dispose()


def take(claims: Claims, run_id: str, partition: str = "p") -> Claim:
    return claims.take(ASSET, partition, NOW, run_id)


def test_a_claims_stamp_is_later_than_every_earlier_one(claims: Claims) -> None:
    first, second, third = (take(claims, run) for run in "abc")
    assert (first.number, second.number, third.number) == (1, 2, 3)
    assert first.stamp == NOW < second.stamp < third.stamp
    assert take(claims, "d", partition="another").number == 1


def test_an_older_claim_is_refused_after_a_newer_one(claims: Claims) -> None:
    published: list[str] = []
    older, newer = take(claims, "older"), take(claims, "newer")
    assert claims.commit(newer, lambda: published.append("newer"))
    assert not claims.commit(older, lambda: published.append("older"))
    assert published == ["newer"]


def test_a_newer_claim_replaces_an_older_one(claims: Claims) -> None:
    published: list[str] = []
    older, newer = take(claims, "older"), take(claims, "newer")
    assert claims.commit(older, lambda: published.append("older"))
    assert claims.commit(newer, lambda: published.append("newer"))
    assert claims.commit(newer, lambda: published.append("newer again"))
    assert published == ["older", "newer", "newer again"]


def test_a_publishing_that_fails_commits_nothing(claims: Claims) -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    older, newer = take(claims, "older"), take(claims, "newer")
    with pytest.raises(OSError, match="the disk is full"):
        claims.commit(newer, fail)
    assert claims.commit(older, lambda: None)
    assert claims.commit(newer, lambda: None)


def test_many_at_once_publish_in_the_order_of_their_claims(claims: Claims) -> None:
    published: list[int] = []

    def run(number: int) -> tuple[Claim, bool]:
        claim = take(claims, f"run {number}")
        return claim, claims.commit(claim, lambda: published.append(claim.number))

    with ThreadPoolExecutor(THREADS) as pool:
        done = list(pool.map(run, range(4 * THREADS)))
    numbers = sorted(claim.number for claim, _ in done)
    assert numbers == list(range(1, 4 * THREADS + 1))
    assert len({claim.stamp for claim, _ in done}) == 4 * THREADS
    committed = {claim.number for claim, stands in done if stands}
    assert committed == set(published), "what was published is what was said to stand"
    # A transaction that lost to another one runs again, and publishes again: that changes nothing.
    order = list(dict.fromkeys(published))
    assert order == sorted(order)
    assert max(numbers) in committed


def test_a_claim_knows_that_a_later_one_was_committed(claims: Claims) -> None:
    older, newer = take(claims, "older"), take(claims, "newer")
    assert not claims.is_overtaken(older)
    claims.commit(newer, lambda: None)
    assert claims.is_overtaken(older)
    assert not claims.is_overtaken(newer)


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_that_start_at_once_on_an_empty_database_find_its_tables(
    kind: str, number: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/new.sqlite"
        if kind == "postgresql":
            empty = stack.enter_context(request.getfixturevalue("postgresql").database())
            url = empty.render_as_string(hide_password=False)
        begin = threading.Barrier(THREADS)

        def start(run: int) -> int:
            begin.wait()
            engine = build_control_engine(url)
            try:
                return take(Claims(engine), f"run {run}").number
            finally:
                engine.dispose()

        with ThreadPoolExecutor(THREADS) as pool:
            assert sorted(pool.map(start, range(THREADS))) == list(range(1, THREADS + 1))
