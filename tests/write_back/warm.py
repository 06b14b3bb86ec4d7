"""Imported by the process that every writer is a copy of: afterwards everything a run needs is there."""

from tests.write_back.writer import warm_up

warm_up()
