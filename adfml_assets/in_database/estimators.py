"""A model of the lake as a Python object, to be compiled and to be compared with its SQL: loaded by its hash only.

skops rebuilds objects from a description, and refuses every type it was not told to trust: no foreign code runs.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from importlib.metadata import version as library_version
from typing import Any

from adfml_assets.in_database.server_errors import CannotLoad, WrongModelBytes

_MODULES = (
    "_loss",
    "compose",
    "ensemble",
    "linear_model",
    "neighbors",
    "neural_network",
    "preprocessing",
    "svm",
    "tree",
)
_TRUSTED = tuple(f"sklearn.{module}." for module in _MODULES)
"""Where the types come from that fitted models hold beyond those skops trusts by itself: losses, links, trees."""


# NumPy reads an array's header by ast.literal_eval, which fails in CPython 3.11 where two threads parse at once.
_one_at_a_time = threading.Lock()


def load_estimator(content: bytes, shown_as: str, sha256: str, trained_with: str = "") -> Any:
    """A scikit-learn model that is stored as .skops, or its refusal before anything in it is used.

    Args:
        content: the file.
        shown_as: the path the user knows it by, for errors.
        sha256: what the file has to be, hexadecimal: as the registry recorded it.
        trained_with: the scikit-learn it was trained with; "": not known.

    Raises:
        WrongModelBytes: the file is another one.
        CannotLoad: it was trained with another minor version of scikit-learn, holds types that are not allowed, or is
            damaged.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise WrongModelBytes(shown_as, sha256, found)
    here = library_version("scikit-learn")
    if trained_with and here.split(".")[:2] != trained_with.split(".")[:2]:
        reason = f"it was trained with scikit-learn {trained_with}, here is {here}, and models do not carry over"
        raise CannotLoad(shown_as, reason)
    from skops import io

    try:
        unknown = io.get_untrusted_types(data=content)
        foreign = sorted(name for name in unknown if not name.startswith(_TRUSTED))
        if foreign:
            raise CannotLoad(shown_as, f"it holds types that are not trusted: {', '.join(foreign)}")
        with _one_at_a_time:
            estimator = io.loads(content, trusted=unknown)
        _require_sound_trees(estimator, shown_as)
    except CannotLoad:
        raise
    except Exception as error:  # skops' errors have no common base
        raise CannotLoad(shown_as, f"it is not a whole model ({type(error).__name__}: {error})") from error
    return estimator


def _require_sound_trees(estimator: Any, shown_as: str) -> None:
    # Boosting follows node numbers unchecked: a wrong one reads foreign memory, or loops for ever.
    import numpy as np

    for model in _find_boosting(estimator):
        for predictor in (tree for trees in model._predictors for tree in trees):
            nodes = predictor.nodes
            inner = ~nodes["is_leaf"].astype(bool)
            own = np.arange(len(nodes))
            after = [(nodes[child] > own) & (nodes[child] < len(nodes)) for child in ("left", "right")]
            feature = nodes["feature_idx"]
            sound = after[0] & after[1] & (feature >= 0) & (feature < model.n_features_in_)
            if len(nodes) == 0 or not bool(sound[inner].all()):
                raise CannotLoad(shown_as, "one of its trees points outside itself")


def _find_boosting(estimator: Any) -> Iterator[Any]:
    """The boosting models in a model: itself, what it wraps, and the steps of a pipeline."""
    if hasattr(estimator, "_predictors"):
        yield estimator
    for name in ("regressor_", "estimator_", "best_estimator_"):
        if (inner := getattr(estimator, name, None)) is not None:
            yield from _find_boosting(inner)
    for _, step in getattr(estimator, "steps", ()):
        yield from _find_boosting(step)
