"""Every fault of the service: each row gets its one right answer, or the call says why there is none."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from resources.azure_ml_online import OnlineTarget, TargetInvalid
from resources.errors import Refused, Unreachable
from tests.azure_ml_online.conftest import FEATURES, Bench, make_records, predict_here
from tests.faults import FAULTS

PASSING: dict[str, dict[str, Any]] = FAULTS | {
    "408": {"kind": "status", "code": 408},
    "503 with Retry-After": {"kind": "status", "code": 503, "retry_after": 1},
    "slow": {"kind": "delay", "seconds": 2.0},
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_costs_no_row_and_doubles_none(bench: Bench, fault: str) -> None:
    records = make_records(60)
    bench.order(path=bench.path, times=2, **PASSING[fault])
    # The slow answer comes later than it is waited for: it is asked for again.
    scored = bench.score(records, rows_per_request=15, concurrency=2, request_seconds=1.5)
    assert list(scored) == [(score, None) for score in predict_here(bench.models.champion, records)]


@pytest.mark.parametrize("kind", ["429 without", "500", "reset", "truncated"])
def test_a_fault_that_stays_ends_the_call_with_what_to_check(bench: Bench, kind: str) -> None:
    bench.order(path=bench.path, **{**PASSING[kind], "times": None})
    with pytest.raises(Unreachable, match=r"online endpoint at http.*tried \d+ times.*`scoring_uri`"):
        bench.score(make_records(20), rows_per_request=5, retry_seconds=1.0)


def test_a_wait_the_service_asks_for_that_is_too_long_is_not_waited_for(bench: Bench) -> None:
    bench.order(kind="status", code=429, retry_after=3600, path=bench.path)
    with pytest.raises(Unreachable, match="429"):
        bench.score(make_records(2))
    assert bench.requests() == 1


def test_an_endpoint_that_takes_few_requests_at_once_gets_few(bench: Bench) -> None:
    records = make_records(200)
    bench.behave("max_pending", 2, times=None)
    bench.behave("slow", 0.02, times=None)
    scored = bench.score(records, rows_per_request=5, concurrency=8)
    assert scored.scores.to_pylist() == predict_here(bench.models.champion, records)


def test_a_model_without_a_free_worker_is_asked_again(bench: Bench) -> None:
    bench.behave("model_busy", times=2)
    assert bench.score(make_records(20)).failed == 0
    assert bench.requests() == 3


def test_micro_batches_that_take_too_long_become_smaller(bench: Bench) -> None:
    records = make_records(120)
    bench.behave("timeout", 30, times=None)
    scored = bench.score(records, rows_per_request=100)
    assert scored.scores.to_pylist() == predict_here(bench.models.champion, records)
    assert bench.requests() < 15


def test_a_row_that_is_larger_than_the_endpoint_takes_keeps_it_to_itself(bench: Bench) -> None:
    records: list[dict[str, Any]] = make_records(6).select(FEATURES).to_pylist()
    for row, record in enumerate(records):
        record["note"] = "x" * (6_000_000 if row == 3 else 10)
    scored = bench.score(records, columns=None, bytes_per_request=20_000_000)
    assert [error is not None for _, error in scored] == [row == 3 for row in range(6)]
    assert "larger than the endpoint takes (413)" in str(scored.errors[3])


@pytest.mark.parametrize("code", [400, 403, 405])
def test_what_no_repetition_changes_is_not_repeated(bench: Bench, code: int) -> None:
    bench.order(kind="status", code=code, path=bench.path)
    with pytest.raises(Refused, match=rf"{code}: A fault of the local cloud"):
        bench.score(make_records(3))
    assert bench.requests() == 1


def test_a_wrong_key_says_which_setting_holds_it_and_not_the_key(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_AZURE_ML_KEY", "planted-wrong-key")
    with pytest.raises(Refused, match=r"401.*Check ADFML_AZURE_ML_KEY") as raised:
        bench.score(make_records(3))
    assert "planted" not in str(raised.value)


def test_without_a_key_the_identity_of_the_process_signs_in(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADFML_AZURE_ML_KEY")
    assert bench.score(make_records(3)).failed == 0


def test_an_identity_that_cannot_sign_in_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADFML_AZURE_ML_KEY")
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(Refused, match=r"The Azure identity .*ADFML_AZURE_ML_KEY"):
        bench.score(make_records(3))
    assert bench.requests() == 0


def test_a_key_in_the_vault_is_used_by_its_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.identity import DefaultAzureCredential
    from azure.keyvault.secrets import SecretClient

    key = bench.cloud.environment()["ADFML_AZURE_ML_KEY"]
    environment = bench.cloud.environment()
    with DefaultAzureCredential() as credential:
        vault = SecretClient(
            environment["ADFML_KEY_VAULT_URL"],
            credential,
            connection_verify=environment["ADFML_CA_BUNDLE"],
            verify_challenge_resource=False,
        )
        vault.set_secret("endpoint-key", key)
    monkeypatch.delenv("ADFML_AZURE_ML_KEY")
    scored = bench.online.score(make_records(3), bench.target(secret="endpoint-key"), columns=FEATURES)
    assert scored.failed == 0


def test_a_deployment_that_does_not_exist_is_named_with_those_that_do(bench: Bench) -> None:
    with pytest.raises(
        Refused, match=r"no deployment blue; it has: challenger, champion, latest.*`deployment` \('blue'"
    ):
        bench.online.score(make_records(3), bench.target(deployment="blue"), columns=FEATURES)


def test_an_endpoint_that_does_not_exist_is_named(bench: Bench) -> None:
    target = OnlineTarget(scoring_uri=bench.uri.replace("small-model", "large-model"))
    with pytest.raises(Refused, match=r"404: There is no online endpoint large-model.*Check `scoring_uri`"):
        bench.online.score(make_records(3), target, columns=FEATURES)


def test_a_host_that_does_not_exist_is_not_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    target = OnlineTarget(scoring_uri="https://typo.westeurope.inference.ml.azure.com/score")
    wrong = pytest.raises(Unreachable, match=r"does not resolve.*tried 1 times.*`scoring_uri`")
    with monkeypatch.context() as patch, wrong:
        patch.setattr(socket, "getaddrinfo", fail)
        bench.online.score(make_records(3), target, columns=FEATURES)


@pytest.mark.parametrize(
    "target",
    [
        {},
        {"endpoint": "a", "scoring_uri": "https://a.b/score"},
        {"scoring_uri": "http://a.inference.ml.azure.com/score"},
        {"scoring_uri": "a.inference.ml.azure.com/score"},
    ],
)
def test_a_target_that_cannot_be_is_refused(target: dict[str, str]) -> None:
    with pytest.raises(TargetInvalid, match="expected"):
        OnlineTarget(**target)
