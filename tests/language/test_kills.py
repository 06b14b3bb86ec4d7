"""A run that is killed anywhere loses nothing: the next one goes on, and sends at most one page again."""

from __future__ import annotations

import signal
import time
from datetime import timedelta

import pytest

from resources.control import utc_now
from resources.control_tables import partition_claims as turns
from resources.language_turns import LEASE, TurnTaken
from tests.kills import repeat_kills
from tests.language.conftest import Scorer, Service, Shop
from tests.language.scoring_process import Order, run, start

ROWS, PAGE = 100, 20
RUN, PAGES = "adfml_assets.text.language_run", "adfml_assets.text.language_pages"

MOMENTS = {
    # moment: (where, which call, after it, documents that may be sent twice)
    "before anything is sent": ("resources.language_session:LanguageSession.analyze", 1, False, 0),
    "with half a page answered": ("resources.language_session:LanguageSession.analyze", 6, True, PAGE),
    "with the page answered": (f"{PAGES}:PageStore.write", 3, False, PAGE),
    "with the page in the lake": (f"{RUN}:write_page", 3, False, 0),
    "inside the table's transaction": (f"{RUN}:update_in", 5, True, 0),
    "with the page in the table": (f"{RUN}:write_page", 3, True, 0),
    "with the last page in the table": (f"{RUN}:write_page", 5, True, 0),
    "before the day's files": (f"{PAGES}:PageStore.put_together", 1, False, 0),
    "with the day's files, not visible": (f"{PAGES}:commit_manifest", 1, False, 0),
    "with the day's files visible": (f"{PAGES}:commit_manifest", 1, True, 0),
    "at the end": (f"{RUN}:_put_together", 1, True, 0),
}


IN_THE_DATABASE = ["with the page in the lake", "inside the table's transaction", "with the page in the table"]


def let_its_turn_end(scorer: Scorer) -> None:
    """As if a minute had passed since the killed run was heard of."""
    with scorer.control.engine.begin() as connection:
        connection.execute(turns.update().values(claimed_at=utc_now() - 2 * LEASE))


@repeat_kills()
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_next_run_goes_on(
    moment: str, sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service, kill: int
) -> None:
    check_next_run(moment, sqlite_scorer, sqlite_shop, service)


@repeat_kills()
@pytest.mark.parametrize("shop", ["postgresql"], indirect=True)
@pytest.mark.parametrize("moment", IN_THE_DATABASE)
def test_the_next_run_goes_on_on_postgresql(
    moment: str, scorer: Scorer, shop: Shop, service: Service, kill: int
) -> None:
    check_next_run(moment, scorer, shop, service)


def check_next_run(moment: str, scorer: Scorer, shop: Shop, service: Service) -> None:
    where, call, after, again = MOMENTS[moment]
    table = shop.feedback([f"I love number {n}." if n % 10 else None for n in range(ROWS)])
    assert run(Order(shop.schema, where, call, after)) == -signal.SIGKILL
    let_its_turn_end(scorer)

    _, progress, left = scorer.score(page_rows=PAGE, lease=LEASE)

    assert left == 0
    assert [row.scored for row in shop.read(table)] == [1 if n % 10 else -1 for n in range(ROWS)]
    scored = [row["FeedbackId"] for row in scorer.read("predictions")]
    rejected = [row["FeedbackId"] for row in scorer.read("rejects")]
    assert scored == [n + 1 for n in range(ROWS) if n % 10]
    assert rejected == [n + 1 for n in range(ROWS) if n % 10 == 0]
    assert scorer.pages() == []
    documents = service.documents()
    assert set(documents) == {str(n) for n in scored}
    assert sum(times - 1 for times in documents.values()) <= again
    assert max(documents.values()) <= 2
    if moment == "with the page in the lake":
        assert progress.recovered == PAGE


@repeat_kills()
def test_what_a_killed_run_left_is_put_together_for_its_own_day(
    sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service, kill: int
) -> None:
    scorer, shop = sqlite_scorer, sqlite_shop
    shop.feedback(["I love it."] * 40)
    assert run(Order(shop.schema, f"{RUN}:write_page", 2)) == -signal.SIGKILL
    left = scorer.pages()
    assert len(left) == 2
    # As if the day had passed meanwhile.
    for path in left:
        folder, _, _ = path.rpartition("/pages/")
        day = folder.removeprefix("ml/text-scores/mood/")
        scorer.lake.write_table(path.replace(day, "2026/01/02"), scorer.lake.read_table(path))
        scorer.lake.delete(path)
    # It waits for as long as the killed run's turn lasts.
    scorer.score()
    assert len(scorer.read("predictions", "2026-01-02")) == 40
    assert scorer.read("predictions") == []
    assert set(service.documents().values()) == {1}
    manifest, _, _ = scorer.score("2026-01-02")
    assert manifest.rows == 40


def test_a_second_run_over_the_table_sends_nothing_while_the_first_lives(
    sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service
) -> None:
    scorer, shop = sqlite_scorer, sqlite_shop
    shop.feedback(["I love it."] * 40)
    lease = timedelta(seconds=4)
    # No answer for as long as the fault is in force.
    service.order(kind="delay", path="/language/*", seconds=0.1, times=None)
    process = start(Order(shop.schema, run_id="first", lease=lease))
    stop_at = time.monotonic() + 30
    while service.requests() == 0:
        assert time.monotonic() < stop_at
        time.sleep(0.05)
    with pytest.raises(TurnTaken, match=r"shop\..*Feedback is being scored by run first .*Nothing was sent"):
        scorer.score(run_id="second", lease=lease)
    service.http.delete("/_local/faults").raise_for_status()
    process.join(60)
    assert process.exitcode == 0
    assert set(service.documents().values()) == {1}
    _, progress, _ = scorer.score(run_id="second")
    assert progress.scored == 0
