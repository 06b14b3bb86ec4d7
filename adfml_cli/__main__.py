"""`python -m adfml_cli`: the command `adfml`."""

from adfml_cli.cli import app

app(prog_name="adfml")
