"""Whatever happens to a request: every row ends scored once, or stays to be scored and the run says why."""

from __future__ import annotations

from typing import Any

import pytest

from resources.errors import Refused, SettingInvalid, SettingMissing, Unreachable
from resources.language import Language
from resources.language_documents import build_document
from tests.faults import FAULTS
from tests.language.conftest import PATH, Scorer, Service, Shop

ROWS = 35
SURVIVED: dict[str, dict[str, Any]] = FAULTS | {
    "429 with Retry-After 0": {"kind": "status", "code": 429, "retry_after": 0},
    "408": {"kind": "status", "code": 408},
    "502": {"kind": "status", "code": 502},
    "503 with Retry-After": {"kind": "status", "code": 503, "retry_after": 0},
    "504": {"kind": "status", "code": 504},
    "a document fails": {"kind": "behaviour", "name": "language.document_error"},
    "a document is missing in the answer": {"kind": "behaviour", "name": "language.missing_document"},
}
PAID_TWICE = {"lost answer", "truncated", "a document is missing in the answer"}
# Of a connection that breaks nobody knows whether the work was done.
MAYBE_PAID_TWICE = PAID_TWICE | {"408", "504", "reset"}


@pytest.mark.parametrize("fault", SURVIVED)
def test_a_passing_fault_costs_no_row(fault: str, sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service) -> None:
    table = sqlite_shop.feedback([f"I love it {n}" for n in range(ROWS)])
    service.order(path=PATH, times=2 if fault == "500" else 1, **SURVIVED[fault])
    _, progress, left = sqlite_scorer.score()
    assert (progress.scored, progress.rejected, left) == (ROWS, 0, 0)
    assert {row.scored for row in sqlite_shop.read(table)} == {1}
    assert service.faults_left() == 0
    documents = service.documents()
    assert len(documents) == ROWS
    again = sum(times - 1 for times in documents.values())
    assert (again > 0) == (fault in PAID_TWICE)
    assert progress.sending.resent_documents >= again
    assert (progress.sending.resent_documents > 0) == (fault in MAYBE_PAID_TWICE)
    assert progress.sending.requests >= service.requests()


def test_after_a_429_all_requests_pause_together(sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service) -> None:
    sqlite_shop.feedback(["I love it"] * 400)
    service.order(kind="status", code=429, retry_after=1, path=PATH, times=1)
    _, progress, _ = sqlite_scorer.score(page_rows=400, concurrency=2)
    # The other thread may have had a request under way, and at most that.
    assert (progress.scored, progress.sending.repeated) == (400, 1)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "status", "code": 429, "retry_after": 3600}, r"status 429: .*; asked 1 times within 2 s"),
        ({"kind": "status", "code": 503}, "status 503"),
        ({"kind": "reset"}, "asked [2-9] times within 2 s"),
        ({"kind": "truncated"}, "asked [2-9] times within 2 s"),
    ],
)
def test_a_lasting_fault_ends_the_run_and_keeps_what_was_paid_for(
    fault: dict[str, Any], reason: str, sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service
) -> None:
    table = sqlite_shop.feedback([f"I love it {n}" for n in range(ROWS)])
    sqlite_scorer.language = Language(retry_seconds=2)
    sqlite_scorer.score(page_rows=10, where="FeedbackId <= 10")
    service.order(path=PATH, times=None, **fault)
    with pytest.raises(Unreachable, match=f"Language at http.*{reason}.*Check ADFML_LANGUAGE_ENDPOINT"):
        sqlite_scorer.score()
    assert [row.scored for row in sqlite_shop.read(table)] == [1] * 10 + [0] * 25
    assert len(sqlite_scorer.read("predictions")) == 10
    service.forget()
    _, progress, left = sqlite_scorer.score()
    assert (progress.scored, left, len(sqlite_scorer.read("predictions"))) == (25, 0, ROWS)


def test_a_page_that_fails_in_part_keeps_the_requests_that_were_answered(
    sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service
) -> None:
    table = sqlite_shop.feedback([f"I love it {n}" for n in range(30)])
    sqlite_scorer.language = Language(retry_seconds=0)
    service.order(kind="status", code=503, path=PATH, times=1)
    with pytest.raises(Unreachable):
        sqlite_scorer.score(page_rows=30, concurrency=3)
    marks = [row.scored for row in sqlite_shop.read(table)]
    documents = service.documents()
    assert sum(marks) == len(documents) == len(sqlite_scorer.read("predictions"))
    assert [n + 1 for n, mark in enumerate(marks) if mark] == sorted(map(int, documents))
    _, progress, _ = sqlite_scorer.score()
    assert progress.scored == 30 - sum(marks)
    assert set(service.documents().values()) == {1}


def test_a_table_that_cannot_be_written_keeps_what_was_paid_for(
    scorer: Scorer, shop: Shop, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import adfml_assets.text.language_run as runs

    shop.feedback(["I love it"] * 20)
    original = runs.write_page

    def broken(*args: Any) -> int:
        raise ConnectionError("the database is gone")

    monkeypatch.setattr(runs, "write_page", broken)
    with pytest.raises(ConnectionError):
        scorer.score()
    monkeypatch.setattr(runs, "write_page", original)
    _, progress, left = scorer.score()
    assert (progress.recovered, progress.scored, left) == (10, 10, 0)
    assert set(service.documents().values()) == {1}
    assert len(scorer.read("predictions")) == 20


def test_the_key_or_the_identity_signs_in(
    sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_shop.feedback(["I love it"])
    monkeypatch.delenv("ADFML_LANGUAGE_KEY")
    _, progress, _ = sqlite_scorer.score()
    assert progress.scored == 1


def refused(scorer: Scorer, kind: type[Exception] = Refused, **changes: Any) -> str:
    with pytest.raises(kind) as caught:
        scorer.score(**changes)
    return str(caught.value)


def test_what_is_wrong_is_told_with_where_it_is_set(
    sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = sqlite_shop.feedback(["I love it"] * 15)
    scorer, url = sqlite_scorer, service.cloud.url
    told = refused(scorer, language="xx")
    assert "UnsupportedLanguageCode: Invalid language code xx" in told
    assert "Check the engine's language in the declaration ('xx')" in told
    told = refused(scorer, model_version="1999-01-01")
    assert "400 ModelVersionIncorrect: Invalid model version" in told
    assert "Check the engine's model_version in the declaration" in told
    told = refused(scorer, api_version="1999-01-01")
    assert "'1999-01-01' is not valid or supported" in told
    assert "Check the engine's api_version in the declaration" in told
    service.order(kind="behaviour", name="language.disabled", times=None)
    told = refused(scorer)
    assert "403 Forbidden: The resource is disabled" in told
    assert "that the resource in ADFML_LANGUAGE_ENDPOINT is enabled" in told
    service.forget()
    monkeypatch.setenv("ADFML_LANGUAGE_KEY", "planted-secret")
    told = refused(scorer)
    assert "401 401: Access denied due to invalid subscription key or wrong API endpoint" in told
    assert "Check ADFML_LANGUAGE_KEY, and that it belongs to the resource (and region)" in told
    assert "planted-secret" not in told
    monkeypatch.setenv("ADFML_LANGUAGE_KEY", service.cloud.environment()["ADFML_LANGUAGE_KEY"])
    monkeypatch.setenv("ADFML_LANGUAGE_ENDPOINT", f"{url}/language")
    told = refused(scorer)
    assert "404 404: Resource not found" in told
    assert "Check ADFML_LANGUAGE_ENDPOINT: expected a Language resource's address without a path" in told
    monkeypatch.setenv("ADFML_LANGUAGE_ENDPOINT", "https://no-such-resource.invalid")
    told = refused(scorer, Unreachable)
    assert "Language at https://no-such-resource.invalid cannot be reached (the name does not resolve)" in told
    monkeypatch.setenv("ADFML_LANGUAGE_ENDPOINT", "http://example.com")
    assert "expected an https address" in refused(scorer, SettingInvalid)
    monkeypatch.delenv("ADFML_LANGUAGE_ENDPOINT")
    assert "ADFML_LANGUAGE_ENDPOINT is not set" in refused(scorer, SettingMissing)
    assert {row.scored for row in sqlite_shop.read(table)} == {0}


def test_a_request_refused_for_a_document_costs_only_that_document(
    service: Service, sqlite_scorer: Scorer, sqlite_shop: Shop
) -> None:
    # An empty id is what no table gives: it stands for whatever the service may refuse a request for.
    from adfml_assets.text.language_scoring import TextRules, _ask

    ids = ["1", "2", "", "4", "5"]
    with sqlite_scorer.language.open_session() as session:
        batch = [build_document(id, "I love it", "en") for id in ids]
        outcomes, failure = _ask(session, batch, TextRules("en", "split"))
    assert failure is None
    assert {id: getattr(outcome, "code", "scored") for id, outcome in outcomes.items()} == {
        "1": "scored",
        "2": "scored",
        "": "InvalidDocumentBatch",
        "4": "scored",
        "5": "scored",
    }
    assert set(service.documents()) == {"1", "2", "4", "5"}
