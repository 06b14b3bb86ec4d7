"""Runs a model deployment's scoring script over files, as the driver of Azure ML's batch deployments does.

Started as a script: `azure_ml_batch_driver.py ORDER`, a JSON object with `script`, `model`, `input` (a file or a
folder), `output`, `mini_batch_size` and `variables`. The script's `init()` is called once, `run()` for each mini-batch
of files, which has to give a result for every file (Microsoft, "Author scoring scripts for batch deployments").
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any


def drive(order: dict[str, Any]) -> int:
    """Score; the number of files."""
    output = Path(order["output"])
    output.mkdir(parents=True, exist_ok=True)
    os.environ.update(order["variables"])
    os.environ["AZUREML_MODEL_DIR"] = order["model"]
    os.environ["AZUREML_BI_OUTPUT_PATH"] = str(output)
    script = _import(Path(order["script"]))
    given = Path(order["input"])
    files = sorted(str(path) for path in given.rglob("*") if path.is_file()) if given.is_dir() else [str(given)]
    script.init()
    size = max(1, int(order["mini_batch_size"]))
    for start in range(0, len(files), size):
        batch = files[start : start + size]
        results = script.run(batch)
        if len(results) < len(batch):
            raise RuntimeError(f"run() gave {len(results)} results for {len(batch)} files")
        print("\n".join(str(line) for line in results), flush=True)
    return len(files)


def _import(path: Path) -> ModuleType:
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        drive(json.loads(sys.argv[1]))
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
