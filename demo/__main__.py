"""`python -m demo run|ui`."""

from demo.cli import app

app()
