"""Scores a day and is killed on the way: `killed.py SCORING_URI FUNCTION CALL`, before that call of that function."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from adfml_assets.scoring import online
from tests.azure_ml_online.days import materialise

if __name__ == "__main__":
    uri, name, call = sys.argv[1:]
    owner: Any = online
    for part in name.split(".")[:-1]:
        owner = getattr(owner, part)
    name = name.rpartition(".")[2]
    real, left = getattr(owner, name), int(call)

    def killing(*args: Any, **kwargs: Any) -> Any:
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(owner, name, killing)
    materialise(scoring_uri=uri, rows_per_request=20, concurrency=2)
