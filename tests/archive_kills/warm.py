"""Imported by the process that every archiver is a copy of: afterwards everything a run needs is there."""

from tests.archive_kills.archiver import warm_up

warm_up()
