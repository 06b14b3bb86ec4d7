"""Models in the lake, as a training job leaves them."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version as library_version
from typing import Any

import numpy as np
import pandas as pd
from skops import io

from adfml_assets import lake_layout
from resources.lake import Lake
from resources.manifest import FILE_NAME

FEATURES = ["recency", "frequency"]
BOOSTING = {"max_iter": 7, "min_samples_leaf": 5}


def put_model(lake: Lake, version: str, estimator: Any, algorithm: str, **metadata: Any) -> bytes:
    """A version in the lake, as a training job leaves it."""
    random = np.random.default_rng(1)
    rows = pd.DataFrame(random.normal(size=(80, 2)), columns=FEATURES)
    content = io.dumps(estimator.fit(rows, rows["recency"] * 2 + 1))
    folder = lake_layout.model_folder("churn", version)
    known = {
        "model": "churn",
        "version": version,
        "algorithm": algorithm,
        "features": FEATURES,
        "model_file": "model.skops",
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "library_versions": {"scikit-learn": library_version("scikit-learn")},
    }
    lake.write_bytes(f"{folder}/model.skops", content)
    lake.write_bytes(f"{folder}/metadata.json", json.dumps({**known, **metadata}).encode())
    lake.write_bytes(f"{folder}/{FILE_NAME}", b"{}")
    return content
