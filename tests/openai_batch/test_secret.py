"""`secret: name` of an OpenAI batch: the key of a declaration's own, read when it is needed, by whoever needs it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import yaml

from adfml_assets.components.scored_text import ScoredText
from adfml_assets.declarations import find_mistakes
from resources.errors import Refused, ResourceError, Unreachable
from resources.key_vault import forget_secrets, read_secret
from resources.openai_account import OpenAIAccount
from resources.openai_batch import OpenAIBatch
from resources.openai_client import KeyRefused
from resources.remote_jobs import RemoteJob, RemoteStatus
from resources.submission import submit_job
from tests.openai_batch.conftest import Bench, archive, declare, make_feedback
from tests.openai_batch.test_component import JOB, SCORES, Deployment, drain
from tests.secrets.conftest import Vault
from tests.secrets.searching import find_secrets, read_everything

WRONG = "planted-wrong-key-0123456789"
DECLARED = """
name: feedback
source: shop.main.Feedback
key: [Id]
text: Text
engine:
  service: openai_batch
  deployment: gpt-4o-mini
  secret: feedback-key
  template: "{{ Text }}"
  answer_schema: {type: object, properties: {sentiment: {type: string}}}
"""


@pytest.fixture
def vault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """The cloud's vault. Who signs in by no key uses the identity."""
    # Other ways to sign in only take time to fail.
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    opened = Vault(bench.cloud)
    with closing(opened.client):
        yield opened
    forget_secrets()


def read_key(bench: Bench) -> str:
    return str(httpx.get(f"{bench.cloud.url}/_local/openai/key").json()["key"])


def restart(bench: Bench) -> None:
    """As if the process had begun anew: nothing that was read is in its memory."""
    forget_secrets()
    bench.service = OpenAIBatch(lake=bench.lake, request_timeout_seconds=10)


def ask(bench: Bench, day: str, secret: str | None, rows: int = 6) -> list[RemoteJob]:
    """Three batches of a day, by a declaration with this secret."""
    bench.day = day
    bench.declaration = declare(rows_per_shard=rows // 3, secret=secret)
    return bench.ask(make_feedback(rows))


def states(bench: Bench, day: str) -> set[str]:
    return {job.state for job in bench.ledger.list_group("ml/f", day)}


def finish_day(bench: Bench, day: str) -> None:
    """Tick until a day's batches have ended, whatever becomes of others."""
    stop_at = time.monotonic() + 20
    while states(bench, day) & {"submitting", "running"}:
        assert time.monotonic() < stop_at, bench.ledger.list_group("ml/f", day)
        bench.expire_leases()
        bench.tick()
        time.sleep(0.03)


def test_the_declared_secret_holds_the_key_of_every_call_and_only_its_name_is_written(
    bench: Bench, vault: Vault, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFML_OPENAI_KEY", "a-key-of-another-resource")
    key = read_key(bench)
    vault.put("feedback-key", key)
    bench.behave("expire", 0.5)
    archive(bench.lake, make_feedback(10))
    deployed = Deployment(bench, ScoredText.resolve_from_dict(yaml.safe_load(DECLARED)))
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as deployed.instance, caplog.at_level("DEBUG"):
        deployed.run(JOB)
        drain(bench)
        assert deployed.run(SCORES)[SCORES]["dagster/row_count"] == 10
        vault.put("feedback-key", WRONG)
        restart(bench)
        deployed.resources["openai_batch"] = bench.service
        archive(bench.lake, make_feedback(12))
        with pytest.raises(dg.Failure, match=r"(?s)invalid subscription key.*the declaration's secret 'feedback-key'"):
            deployed.run(JOB)
    jobs = bench.ledger.list_jobs()
    assert [job.state for job in sorted(jobs, key=lambda job: job.attempt)] == ["succeeded", "succeeded", "failed"]
    assert {job.request["secret"] for job in jobs} == {"feedback-key"}
    (tmp_path / "log.txt").write_text(caplog.text)
    places = [home, tmp_path / "lake", tmp_path / "control.sqlite", tmp_path / "log.txt"]
    written = b"".join(data for place in places for _, data in read_everything(place))
    assert b"feedback-key" in written
    assert b"invalid subscription key" in written
    assert find_secrets(places, {"key": key, "wrong key": WRONG}) == set()


def test_a_declaration_without_a_secret_has_none_in_its_requests(bench: Bench) -> None:
    _, requests = bench.build(make_feedback(2))
    assert "secret" not in requests[0]


def test_the_resources_own_secret_is_for_jobs_that_name_none(bench: Bench, vault: Vault) -> None:
    vault.put("resource-key", WRONG)
    vault.put("own-key", read_key(bench))
    bench.service = OpenAIBatch(lake=bench.lake, secret="resource-key")
    _, (request,) = bench.build(make_feedback(2))
    (job,) = bench.open([{**request, "secret": "own-key"}])
    assert submit_job(bench.ledger, bench.service, job).state == "running"
    bench.day = "2026-03-11"
    (job,) = bench.open([request])
    with pytest.raises(KeyRefused, match="secret 'resource-key'"):
        submit_job(bench.ledger, bench.service, job)


def test_another_name_is_the_same_work(bench: Bench, vault: Vault) -> None:
    for name in ("first-name", "second-name"):
        vault.put(name, read_key(bench))
    table = make_feedback(4)
    bench.declaration = declare(secret="first-name")
    bench.ask(table)
    asked = bench.declaration.engine
    bench.declaration = replace(bench.declaration, engine=replace(asked, secret="second-name"))
    _, requests = bench.build(table)
    assert [job.submission_key for job in bench.open(requests)] == [job.submission_key for job in bench.group()]
    assert len(bench.group()) == 1, "the jobs under way are taken up"
    (ended,) = bench.finish()
    assert (ended.state, ended.request["secret"]) == ("succeeded", "first-name")
    manifest, requests = bench.build(table)
    assert (manifest.facts["answered_before"], requests) == (4, [])


def test_jobs_under_way_go_on_with_the_name_they_were_sent_with(bench: Bench, vault: Vault) -> None:
    vault.put("old-name", read_key(bench))
    archive(bench.lake, make_feedback(4))
    declared = declare(secret="old-name")
    Deployment(bench, declared).run(JOB)
    renamed = Deployment(bench, replace(declared, engine=replace(declared.engine, secret="name-of-nothing")))
    restart(bench)
    renamed.resources["openai_batch"] = bench.service
    renamed.run(JOB)
    drain(bench)
    assert renamed.run(SCORES)[SCORES]["dagster/row_count"] == 4
    assert len(bench.ledger.list_jobs()) == 1


def disable(vault: Vault) -> None:
    vault.client.update_secret_properties("own-key", enabled=False)


def rotate_wrongly(vault: Vault) -> None:
    vault.put("own-key", WRONG)


def mend(vault: Vault, key: str) -> None:
    vault.put("own-key", key, enabled=True)


@pytest.mark.parametrize(
    ("hurt", "said"),
    [(disable, "secret 'own-key'.*SecretDisabled"), (rotate_wrongly, "invalid subscription key.*secret 'own-key'")],
)
def test_a_key_that_is_not_to_be_had_holds_up_its_own_jobs_only(
    bench: Bench, vault: Vault, caplog: pytest.LogCaptureFixture, hurt: Callable[[Vault], None], said: str
) -> None:
    key = read_key(bench)
    for name in ("own-key", "other-key"):
        vault.put(name, key)
    ask(bench, "2026-03-10", "own-key")
    ask(bench, "2026-03-11", "other-key")
    hurt(vault)
    restart(bench)
    finish_day(bench, "2026-03-11")
    assert states(bench, "2026-03-11") == {"succeeded"}
    assert states(bench, "2026-03-10") == {"running"}
    warned = [record.getMessage() for record in caplog.records if record.name == "test"]
    assert any(re.search(f"(?s){said}.*the jobs stay in the ledger", text) for text in warned), warned
    mend(vault, key)
    restart(bench)
    finish_day(bench, "2026-03-10")
    assert states(bench, "2026-03-10") == {"succeeded"}
    assert set(bench.count_by_key().values()) == {1}


def test_a_key_that_is_gone_is_said_after_all_others_were_looked_at(bench: Bench, vault: Vault) -> None:
    for name in ("own-key", "other-key"):
        vault.put(name, read_key(bench))
    bench.behave("hold", times=None)
    gone = ask(bench, "2026-03-10", "own-key")
    jobs = [*gone, *ask(bench, "2026-03-11", "other-key"), *ask(bench, "2026-03-12", "other-key")]
    lost = [replace(job, request={**job.request, "secret": "gone-key"}) for job in gone]
    seen, error = look(bench, [*lost, *jobs[3:]], 10)
    assert set(seen) == {job.submission_key for job in jobs[3:]}
    assert isinstance(error, Refused)
    assert "it has no secret 'gone-key'" in str(error)


def test_a_vault_that_hangs_does_not_keep_the_others_waiting(bench: Bench, vault: Vault) -> None:
    vault.put("slow-key", read_key(bench))
    bench.behave("hold", times=None)
    slow = ask(bench, "2026-03-10", "slow-key")
    others = ask(bench, "2026-03-11", None)
    restart(bench)
    vault.order(kind="delay", seconds=1, path="/secrets/slow-key*", times=None)
    seen, error = look(bench, [*slow, *others], 4)
    assert set(seen) == {job.submission_key for job in others}
    assert isinstance(error, Unreachable)
    assert "secret 'slow-key' was not read in the time there is" in str(error)


def look(bench: Bench, jobs: list[RemoteJob], seconds: float) -> tuple[dict[str, RemoteStatus], ResourceError | None]:
    """What one look at jobs tells, and what it complains of at its end."""
    seen: dict[str, RemoteStatus] = {}
    try:
        for job, status in bench.service.poll(jobs, time.monotonic() + seconds):
            seen[job.submission_key] = status
    except ResourceError as error:
        return seen, error
    return seen, None


def use_stale_key(bench: Bench, vault: Vault) -> None:
    """As in a process that has read a key shortly before it was rotated."""
    key = read_key(bench)
    restart(bench)
    vault.put("rotated-key", WRONG)
    assert read_secret("rotated-key", "a test") == WRONG
    vault.put("rotated-key", key)


def test_a_rotated_key_is_read_again_whichever_call_meets_it(bench: Bench, vault: Vault) -> None:
    bench.declaration = declare(secret="rotated-key", rows_per_shard=2)
    _, requests = bench.build(make_feedback(6))
    calls: list[Callable[[RemoteJob], Any]] = [
        lambda job: bench.ledger.record_facts(job.submission_key, bench.service.prepare(job)),
        lambda job: bench.ledger.record_submitted(job.submission_key, bench.service.submit(job)),
        lambda job: bench.service.find(job),
        lambda job: bench.service.prepare(job),
        lambda job: bench.service.cancel(job),
    ]
    jobs = bench.open(requests)
    for call in calls:
        use_stale_key(bench, vault)
        for job in jobs:
            call(bench.ledger.get(job.submission_key))
        assert vault.count_reads("rotated-key") == 1, "all calls that follow have the new key"
    jobs = bench.group()
    for some in (jobs[:1], jobs):
        use_stale_key(bench, vault)
        seen, error = look(bench, some, 20)
        assert (set(seen), error) == ({job.submission_key for job in some}, None)
    assert set(bench.count_by_key().values()) == {1}


def test_a_rotated_key_is_read_again_for_a_download(bench: Bench, vault: Vault) -> None:
    use_stale_key(bench, vault)
    bench.declaration = declare(secret="rotated-key")
    (job,) = bench.ask(make_feedback(4))
    account = OpenAIAccount("rotated-key", 10)
    stop_at = time.monotonic() + 20
    while (batch := account.get_batch(str(job.remote_id))) is None or batch.status != "completed":
        assert time.monotonic() < stop_at
        time.sleep(0.03)
    use_stale_key(bench, vault)
    answers = b"".join(OpenAIAccount("rotated-key", 10).download(str(batch.output_file_id)))
    assert answers.count(b"\n") == 4
    use_stale_key(bench, vault)
    OpenAIAccount("rotated-key", 10).delete_file(str(batch.output_file_id))
    assert not account.has_file(str(batch.output_file_id))


def test_a_key_from_the_settings_is_read_again_too(bench: Bench, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_OPENAI_KEY_SECRET", "rotated-key")
    use_stale_key(bench, vault)
    bench.ask(make_feedback(2))
    assert [job.state for job in bench.finish()] == ["succeeded"]


def test_the_vault_is_asked_once_where_it_has_no_other_key(bench: Bench, vault: Vault) -> None:
    vault.put("wrong-key", WRONG)
    bench.declaration = declare(secret="wrong-key", rows_per_shard=2)
    _, requests = bench.build(make_feedback(6))
    for job in bench.open(requests):
        with pytest.raises(KeyRefused) as caught:
            submit_job(bench.ledger, bench.service, job)
        assert WRONG not in str(caught.value)
    # The challenge of the vault, the key, and the key again.
    assert vault.count_reads("wrong-key") <= 3
    assert {(job.state, job.remote_state) for job in bench.group()} == {("failed", "NOT_SUBMITTED")}


def test_a_secret_that_is_not_there_is_told_before_anything_is_sent(bench: Bench, vault: Vault) -> None:
    archive(bench.lake, make_feedback(2))
    deployed = Deployment(bench, declare(secret="no-such-key"))
    with pytest.raises(dg.Failure, match=r"no secret 'no-such-key'.*the declaration's secret 'no-such-key'"):
        deployed.run(JOB)
    (job,) = bench.ledger.list_jobs()
    assert (job.state, job.remote_state) == ("failed", "NOT_SUBMITTED")
    assert bench.batches() == []


@pytest.mark.parametrize("name", ["", " ", "a_key", "the/value=itself", "x" * 128])
def test_what_cannot_be_a_name_is_told_when_it_is_loaded_and_not_repeated(name: str, tmp_path: Path) -> None:
    attributes = yaml.safe_load(DECLARED)
    attributes["engine"]["secret"] = name
    file = tmp_path / "defs.yaml"
    file.write_text(yaml.safe_dump({"type": "adfml_assets.components.ScoredText", "attributes": attributes}))
    (mistake,) = find_mistakes(file)
    assert mistake.field == "attributes.engine.secret"
    assert "the name of a Key Vault secret" in mistake.expected
    assert not name.strip() or name not in mistake.describe()
