"""Models as `.skops`, what the training job writes.

skops rebuilds objects from a description instead of running a pickle's code, and refuses every type it was not told to
trust. One type of this model is not trusted by itself: the tree of a boosting model, because scikit-learn follows its
node numbers without looking whether they exist. Loading it runs no foreign code, and the numbers are checked here
before anything is predicted.
"""

from __future__ import annotations

import hashlib
from typing import Any

from workloads.errors import ModelFileError

TRUSTED_TYPES = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)
"""The types a model file may hold beyond those skops trusts by itself (scikit-learn's estimators, NumPy's arrays)."""


def dump_model(estimator: Any) -> tuple[bytes, str]:
    """Serialise a fitted estimator.

    Returns:
        The file's content and its SHA-256. Two dumps of one model differ in their bytes (skops writes memory
        addresses and times), so the hash identifies a file, not what was learned.

    Raises:
        ModelFileError: The file could not be loaded again under the allow-list.
    """
    from skops import io

    content = io.dumps(estimator)
    load_skops(content, "the model just trained")
    return content, hashlib.sha256(content).hexdigest()


def load_skops(content: bytes, shown_as: str) -> Any:
    """Load an estimator of the kind the training job makes, or refuse it before anything in it is used.

    Args:
        content: The file.
        shown_as: The path the user knows it by, for the error.

    Raises:
        ModelFileError: It holds a type that is not allowed, another kind of model, or a damaged tree.
    """
    from skops import io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        estimator = io.loads(content, trusted=list(TRUSTED_TYPES))
        _check_trees(estimator, shown_as)
    except ModelFileError:
        raise
    except UntrustedTypesFoundException as error:
        foreign = sorted(set(io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
        raise ModelFileError(
            f"{shown_as} is refused: it holds types that a model of this kind does not have: {', '.join(foreign)}; "
            "nothing of it was loaded",
            foreign=foreign,
        ) from error
    except Exception as error:
        raise ModelFileError(f"{shown_as} is not a whole model ({type(error).__name__}: {error})") from error
    return estimator


def _check_trees(estimator: Any, shown_as: str) -> None:
    # scikit-learn indexes with these numbers unchecked: a wrong one reads foreign memory or loops for ever.
    import numpy as np
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor

    trees = getattr(estimator, "regressor_", None)
    if not isinstance(estimator, TransformedTargetRegressor) or not isinstance(trees, HistGradientBoostingRegressor):
        raise ModelFileError(f"{shown_as} is refused: it holds a {type(estimator).__name__}, not this kind of model")
    for number, (predictor,) in enumerate(trees._predictors):
        nodes = predictor.nodes
        own = np.arange(len(nodes))
        inner = ~nodes["is_leaf"].astype(bool)
        sound = len(nodes) > 0 and not nodes["is_categorical"].any()
        for child in ("left", "right"):
            # A child comes after its parent, so a walk down the tree always ends.
            sound = sound and bool(((nodes[child] > own) & (nodes[child] < len(nodes)))[inner].all())
        feature = nodes["feature_idx"][inner]
        if not sound or bool(((feature < 0) | (feature >= trees.n_features_in_)).any()):
            raise ModelFileError(f"{shown_as} is refused: tree {number} points outside itself", tree=number)
