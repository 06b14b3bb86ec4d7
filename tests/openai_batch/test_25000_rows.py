"""25,000 rows with bad ones among them, one shard that expires and one the quota refuses: all end exactly once."""

from __future__ import annotations

from tests.openai_batch.conftest import Bench, declare, make_feedback

ROWS, SHARD = 25_000, 5_000


def test_every_row_of_25000_ends_exactly_once(bench: Bench) -> None:
    bench.declaration = declare(rows_per_shard=SHARD)
    table = make_feedback(ROWS)
    texts = table["Text"].to_pylist()
    filtered = set(range(100, ROWS, 500))  # 0.2 %: filtered for good
    blank = set(range(250, ROWS, 1000))  # 0.1 %: nothing to send
    for number in filtered:
        texts[number] = f"{texts[number]} [[unanswerable]]"
    for number in blank:
        texts[number] = " \n "
    table = make_feedback(ROWS, texts)
    bench.behave("quota")  # the first shard is refused when it is submitted
    bench.behave("expire", 0.4)  # the next one is answered to two fifths
    bench.behave("row_errors", 0.004, times=5)  # 0.4 %: fail once
    bench.behave("invalid_answers", 0.003, times=None)  # 0.3 %: never obey the schema

    jobs = bench.ask(table)
    assert len(jobs) == 5
    assert [job.state for job in jobs].count("submitting") == 1
    group = bench.finish(120)

    assert {job.state for job in group} == {"succeeded"}
    assert [job.remote_state for job in group].count("expired") == 1
    result = bench.collect()
    bench.require_whole(result, ROWS)
    reasons = dict(result.reasons)
    assert reasons.pop("content_filter") == len(filtered)
    assert reasons.pop("empty_text") == len(blank)
    assert set(reasons) <= {"length", "not_json", "schema"}
    assert 0.001 * ROWS < sum(reasons.values()) < 0.006 * ROWS
    rejects = {row["Id"]: row for row in bench.rejects().to_pylist()}
    assert {number + 1 for number in filtered | blank} <= set(rejects)
    # Where the service failed on such a row first, it was asked about once more; never after it was filtered.
    assert {rejects[number + 1]["tries"] for number in filtered} <= {1, 2}
    assert all(rejects[number + 1]["final"] for number in filtered | blank)
    assert all(row["tries"] == 3 and not row["final"] for row in rejects.values() if row["code"] in reasons)
    # A shard, and what follows from it, is one batch a submission; none was paid for twice.
    assert len(bench.batches()) == len(group)
