"""Probes run beside each other: one that fails or hangs hides nothing, neither of its own nor of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from adfml_cli.doctor.findings import Finding, Notes, explain
from adfml_cli.doctor.running import Probe, Step, run_probes
from adfml_cli.errors import CommandFailed
from resources.errors import Unreachable
from resources.redaction import remember_secret

NOTES = Notes("test")


def succeed(step: Step) -> Iterator[Finding]:
    yield NOTES.ok("well", "It answers.")


def hang(step: Step) -> Iterator[Finding]:
    yield NOTES.ok("hanging", "The first half is well.")
    step("asking https://example.test for the second half")
    threading.Event().wait(60)


def test_what_a_probe_raises_is_a_finding_and_what_it_had_found_stays() -> None:
    def fail(step: Step) -> Iterator[Finding]:
        yield NOTES.ok("database", "It answers.")
        raise Unreachable("Database 'shop'", "sqlite:///shop.sqlite", "it is locked", "who holds it")

    found = run_probes([Probe("test", "database", fail), Probe("test", "well", succeed)]).findings
    assert [one.status for one in found] == ["ok", "failed", "ok"]
    assert found[1].found == "Database 'shop' at sqlite:///shop.sqlite cannot be reached: it is locked."
    assert found[1].advice == "Check who holds it."


def test_a_defect_of_a_check_is_told_and_fails() -> None:
    def divide(step: Step) -> Iterator[Finding]:
        yield NOTES.ok("number", str(1 // 0))

    (found,) = run_probes([Probe("test", "number", divide)]).findings
    assert (found.status, found.found[:17]) == ("failed", "ZeroDivisionError")


def test_what_the_command_itself_refuses_is_no_defect_of_a_check() -> None:
    error = CommandFailed("The definitions cannot be loaded (`dg check defs` says more): two jobs have one name.")
    assert explain(error) == (str(error), "See docs/operations.md#command-failed.")


def test_a_probe_that_hangs_is_given_up_with_what_it_did() -> None:
    outcome = run_probes([Probe("test", "hanging", hang), Probe("test", "well", succeed)], limit_seconds=0.3)
    assert [one.status for one in outcome.findings] == ["ok", "failed", "ok"]
    assert "while asking https://example.test for the second half" in outcome.findings[1].found
    assert outcome.hanging == 1


def test_probes_that_hang_make_room_for_those_that_wait() -> None:
    began = time.monotonic()
    probes = [*[Probe("test", "hanging", hang)] * 4, *[Probe("test", "well", succeed)] * 20]
    outcome = run_probes(probes, limit_seconds=0.3, concurrency=2)
    assert [one.subject for one in outcome.findings if one.status == "ok" and one.subject == "well"] == ["well"] * 20
    assert outcome.hanging == 4
    assert time.monotonic() - began < 10


def test_a_secret_that_a_driver_repeats_is_not_shown() -> None:
    remember_secret("hunter2-hunter2")
    assert "hunter2" not in NOTES.failed("database", "no entry for hunter2-hunter2", "hunter2-hunter2").found
