"""Whatever becomes of batches and rows, every row ends with an answer, or among the rejects with a reason."""

from __future__ import annotations

import time
from unicodedata import category

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfml_assets.errors import WrongResult
from adfml_assets.text.source_rows import KeysInvalid, PredicateInvalid
from resources.submission import cancel_job
from tests.openai_batch.conftest import Bench, declare, make_feedback


def test_answers_come_back_in_columns(bench: Bench) -> None:
    bench.ask(make_feedback(12))
    bench.finish()
    result = bench.collect()
    bench.require_whole(result, 12)
    found = bench.predictions()
    assert found.schema.names == [
        *("Id", "sentiment", "positive", "model", "deployment"),
        *("custom_id", "scored_at", "input_tokens", "output_tokens"),
    ]
    assert str(found.schema.field("Id").type) == "int64"
    assert str(found.schema.field("positive").type) == "double"
    rows = {row["Id"]: row for row in found.to_pylist()}
    assert rows[1]["sentiment"] == "positive"
    assert rows[2]["sentiment"] == "negative"
    assert rows[1]["deployment"] == "gpt-4o-mini"
    assert rows[1]["model"].startswith("gpt-4o-mini-")
    assert result.input_tokens == sum(row["input_tokens"] for row in rows.values()) > 0


def test_an_expired_batch_keeps_what_came_and_asks_the_rest_again(bench: Bench) -> None:
    bench.behave("expire", 0.3)
    bench.ask(make_feedback(20))
    first, following = bench.finish()
    assert (first.remote_state, first.facts["ok"], following.request["rows"]) == ("expired", 6, 14)
    result = bench.collect()
    bench.require_whole(result, 20)
    assert result.rejects == 0


def test_batches_that_expire_each_time_end_as_failed_when_nothing_comes(bench: Bench) -> None:
    bench.behave("expire", 0.0, times=None)
    bench.ask(make_feedback(3))
    group = bench.finish()
    assert [job.state for job in group] == ["succeeded", "succeeded", "failed"]
    assert "without an answer to any row" in str(group[-1].message)


def test_a_batch_somebody_cancelled_keeps_what_came_and_asks_the_rest_again(bench: Bench) -> None:
    bench.behave("cancel", 0.5)
    bench.ask(make_feedback(20))
    first, following = bench.finish()
    assert (first.remote_state, first.state, following.request["rows"]) == ("cancelled", "succeeded", 10)
    bench.require_whole(bench.collect(), 20)


def test_a_batch_we_cancelled_is_cancelled_and_what_came_is_not_paid_for_again(bench: Bench) -> None:
    bench.behave("hold", 0.5)
    table = make_feedback(20)
    (job,) = bench.ask(table)
    while bench.service.client.batches.retrieve(str(job.remote_id)).status != "in_progress":
        pass
    cancel_job(bench.ledger, bench.service, job, "the run was cancelled")
    bench.calm()
    (ended,) = bench.finish()
    assert (ended.state, ended.facts["ok"]) == ("cancelled", 10)
    manifest, requests = bench.build(table)
    assert (manifest.facts["asked"], manifest.facts["answered_before"]) == (10, 10)
    assert requests[0]["rows"] == 10


def test_cancelling_a_batch_that_has_ended_or_is_gone_is_no_error(bench: Bench) -> None:
    from dataclasses import replace

    (job,) = bench.ask(make_feedback(2))
    (ended,) = bench.finish()
    bench.service.cancel(ended)
    bench.service.cancel(replace(job, remote_id="batch_nobody_knows"))


def test_a_batch_without_room_when_it_runs_is_sent_again_and_counts_as_no_try(bench: Bench) -> None:
    bench.behave("quota_at_run", times=4)
    bench.ask(make_feedback(5))
    group = bench.finish()
    assert [job.state for job in group] == ["failed"] * 4 + ["succeeded"]
    assert {job.try_number for job in group} == {1}
    bench.require_whole(bench.collect(), 5)


def test_a_failure_of_the_service_is_tried_again(bench: Bench) -> None:
    bench.behave("fail")
    bench.ask(make_feedback(5))
    group = bench.finish()
    assert [(job.state, job.try_number) for job in group] == [("failed", 1), ("succeeded", 2)]
    bench.require_whole(bench.collect(), 5)


@pytest.mark.parametrize("name", ["row_errors", "refusal", "invalid_answers"])
def test_a_row_that_goes_wrong_once_is_asked_again(bench: Bench, name: str) -> None:
    bench.behave(name, 0.3)
    bench.ask(make_feedback(20))
    first, following = bench.finish()
    assert (first.facts["rejected"], following.request["rows"]) == (6, 6)
    result = bench.collect()
    bench.require_whole(result, 20)
    assert result.rejects == 0
    # What the unusable answers cost is in the sum.
    assert result.input_tokens == first.facts["input_tokens"] + following.facts["input_tokens"]


def test_a_row_that_always_goes_wrong_is_rejected_after_the_limit(bench: Bench) -> None:
    bench.declaration = declare(row_tries=2)
    bench.behave("refusal", 1.0, times=None)
    bench.ask(make_feedback(3))
    assert len(bench.finish()) == 2
    result = bench.collect()
    bench.require_whole(result, 3)
    assert result.reasons == {"refusal": 3}
    assert {row["tries"] for row in bench.rejects().to_pylist()} == {2}


def test_a_filtered_row_is_asked_once(bench: Bench) -> None:
    bench.behave("content_filter", 0.5)
    bench.ask(make_feedback(20))
    assert len(bench.finish()) == 1
    result = bench.collect()
    bench.require_whole(result, 20)
    assert result.reasons == {"content_filter": 10}
    assert {(row["tries"], row["final"]) for row in bench.rejects().to_pylist()} == {(1, True)}


def test_rows_that_cannot_be_sent_are_rejected_without_being_sent(bench: Bench) -> None:
    bench.declaration = declare(megabytes_per_shard=0.002)
    bench.ask(make_feedback(5, ["fine", "", " \t\n\u00a0", None, "long " * 500]))
    bench.finish()
    result = bench.collect()
    bench.require_whole(result, 5)
    assert result.reasons == {"empty_text": 3, "too_large": 1}
    assert {row["tries"] for row in bench.rejects().to_pylist()} == {0}


def test_files_of_a_settled_batch_are_deleted(bench: Bench) -> None:
    bench.behave("row_errors", 0.5)
    jobs = bench.ask(make_feedback(10))
    batches = [bench.service.client.batches.retrieve(str(job.remote_id)) for job in bench.finish()]
    left = {file.id for file in bench.service.client.files.list()}
    assert len(batches) == len(jobs) + 1
    assert not left & {i for b in batches for i in (b.input_file_id, b.output_file_id, b.error_file_id) if i}


def test_the_service_deletes_what_nobody_fetches(bench: Bench) -> None:
    (job,) = bench.ask(make_feedback(3))
    client, days = bench.service.client, int(job.request["expiry_days"]) * 86_400
    while (batch := client.batches.retrieve(str(job.remote_id))).status != "completed":
        time.sleep(0.05)
    for file_id in (batch.input_file_id, str(batch.output_file_id)):
        file = client.files.retrieve(file_id)
        assert file.expires_at == pytest.approx(file.created_at + days, abs=1)
    bench.finish()


def test_a_reason_that_is_lost_is_no_result(bench: Bench) -> None:
    bench.ask(make_feedback(4))
    (job,) = bench.finish()
    bench.lake.delete(job.facts["answers"])
    with pytest.raises(WrongResult, match="an answer or a reason for each of 4 rows"):
        bench.collect()


@pytest.mark.parametrize(
    ("keys", "said"), [([1, 2, 2, 3], "several rows have the same, for example 2"), ([1, None, 2], "NULL in 1 rows")]
)
def test_rows_that_cannot_be_told_apart_are_not_sent(bench: Bench, keys: list[int | None], said: str) -> None:
    count = len(keys)
    table = pa.table({"Id": pa.array(keys, pa.int64()), "Text": ["x"] * count, "Country": ["y"] * count})
    with pytest.raises(KeysInvalid, match=said):
        bench.build(table)
    assert bench.lake.list_files("ml/text-requests") == []


@pytest.mark.parametrize("where", ["scored = ", "nothing = 1", "CAST(Text AS INTEGER) = 1"])
def test_a_predicate_that_is_none_is_told(bench: Bench, where: str) -> None:
    bench.declaration = declare(where=where)
    with pytest.raises(PredicateInvalid, match="where:"):
        bench.build(make_feedback(2))
    assert bench.lake.list_files("ml/text-requests") == []


def is_blank(text: str | None) -> bool:
    """Nothing but spaces, line ends and control characters."""
    return all(category(character) in ("Zs", "Zl", "Zp", "Cc") for character in text or "")


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40) | st.none()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(words, min_size=1, max_size=30), name=st.sampled_from(["Id", 'a "key"', "ключ", "body"]))
def test_any_text_reaches_the_model_as_it_is(bench: Bench, texts: list[str | None], name: str) -> None:
    """Line feeds, quotes, separators and other scripts: the line is one line, and its prompt is the text."""
    import json

    bench.declaration = declare(key=[name], template="<<{{ Text }}>>")
    table = make_feedback(0, texts).rename_columns([name, "Text", "Country", "scored"])
    manifest, requests = bench.build(table, again=True)
    lines = bench.lake.read_bytes(requests[0]["file"]).split(b"\n")[:-1] if requests else []
    bodies = [json.loads(line) for line in lines]
    rows = bench.lake.read_table(f"ml/text-requests/feedback/2026/03/10/{manifest.files[0].name}").to_pylist()
    sent = {row["custom_id"]: texts[row[name] - 1] for row in rows if row["custom_id"]}
    assert {body["custom_id"]: body["body"]["messages"][-1]["content"] for body in bodies} == {
        custom_id: f"<<{text}>>" for custom_id, text in sent.items()
    }
    assert sorted(row[name] for row in rows) == list(range(1, len(texts) + 1))
    blank = {number for number, text in enumerate(texts, 1) if is_blank(text)}
    assert {row[name] for row in rows if row["custom_id"] is None} == blank
