"""Trees of scikit-learn's models: single ones, forests, and both kinds of gradient boosting.

Classical trees (`sklearn.tree` and what is made of them) see a row as float32, the histogram kind as float64. A tree
that converters such as orbital read from ONNX has float32 thresholds for both, and no way for missing values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adfml_assets.in_database.arithmetic import apply_exp, apply_sigmoid, apply_softmax
from adfml_assets.in_database.columns import Column, Input, Query
from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.sql import Name
from adfml_assets.in_database.trees import Tree, add_trees, round_down_to_float32


def predict_tree(query: Query, where: str, model: Any, inputs: Sequence[Input], chosen: int | None) -> Column:
    """A single tree: its value, or its share of the chosen class."""
    return _average(query, where, model, [model], inputs, chosen)


def predict_forest(query: Query, where: str, model: Any, inputs: Sequence[Input], chosen: int | None) -> Column:
    """A forest: the mean of its trees' values, or of their shares of the chosen class."""
    return _average(query, where, model, model.estimators_, inputs, chosen)


def predict_boosting(query: Query, where: str, model: Any, inputs: Sequence[Input], chosen: int | None) -> Column:
    """Classical gradient boosting. What it starts from must be a constant."""
    import numpy as np

    if model.init_ != "zero" and type(model.init_).__name__ not in ("DummyRegressor", "DummyClassifier"):
        raise CannotCompile(f"init={type(model.init_).__name__}", where, "init=None or init='zero' when it is trained")
    columns = _read_float32(query, where, inputs, allow_missing=False)
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))[0]
    rounds = [
        [_read_classical(tree.tree_, tree.tree_.value[:, 0, 0] * model.learning_rate) for tree in of_round]
        for of_round in model.estimators_
    ]
    return _link(query, where, model._loss.link, rounds, columns, start, chosen)


def predict_histogram_boosting(
    query: Query, where: str, model: Any, inputs: Sequence[Input], chosen: int | None
) -> Column:
    """Gradient boosting over histograms. Infinity and missing values go their way, as in Python."""
    if model.is_categorical_ is not None:
        raise CannotCompile("categorical_features", where, "an OrdinalEncoder or OneHotEncoder before it when trained")
    columns = [query.read_number(one, where, finite=False).name for one in inputs]
    start = [float(value) for value in model._baseline_prediction.ravel()]
    rounds = [[_read_histogram(predictor.nodes) for predictor in of_round] for of_round in model._predictors]
    return _link(query, where, model._loss.link, rounds, columns, start, chosen)


def _average(
    query: Query, where: str, model: Any, members: Sequence[Any], inputs: Sequence[Input], chosen: int | None
) -> Column:
    from sklearn.utils import get_tags

    if model.n_outputs_ > 1:
        raise CannotCompile(f"a model of {model.n_outputs_} outputs", where, "a model for each")
    columns = _read_float32(query, where, inputs, allow_missing=get_tags(model).input_tags.allow_nan)
    trees = [_read_classical(one.tree_, one.tree_.value[:, 0, chosen or 0]) for one in members]
    total = add_trees(query, trees, columns, 0.0)
    if len(trees) == 1:
        return Column(query.define(total))
    return Column(query.define(query.define(total), " / ", float(len(trees))))


def _read_float32(query: Query, where: str, inputs: Sequence[Input], allow_missing: bool) -> list[Name]:
    columns = [query.read_number(one, where) for one in inputs]
    query.refuse_beyond_float32(columns)
    query.refuse_missing([one for one in columns if one.sparse or not allow_missing])
    return [one.name for one in columns]


def _read_classical(tree: Any, values: Any) -> Tree:
    nodes = range(tree.node_count)
    leaves = tree.children_left < 0
    return Tree(
        left=[
            node if leaf else int(child) for node, leaf, child in zip(nodes, leaves, tree.children_left, strict=True)
        ],
        right=tree.children_right.tolist(),
        feature=tree.feature.tolist(),
        threshold=round_down_to_float32(tree.threshold).tolist(),
        missing_left=tree.missing_go_to_left.astype(bool).tolist(),
        value=values.tolist(),
    )


def _read_histogram(nodes: Any) -> Tree:
    leaves = nodes["is_leaf"].astype(bool)
    children = zip(range(len(nodes)), leaves, nodes["left"], strict=True)
    return Tree(
        left=[node if leaf else int(child) for node, leaf, child in children],
        right=nodes["right"].tolist(),
        feature=nodes["feature_idx"].tolist(),
        threshold=nodes["num_threshold"].tolist(),
        missing_left=nodes["missing_go_to_left"].astype(bool).tolist(),
        value=nodes["value"].tolist(),
    )


def _link(
    query: Query,
    where: str,
    link: Any,
    rounds: Sequence[Sequence[Tree]],
    columns: Sequence[Name],
    start: Sequence[float],
    chosen: int | None,
) -> Column:
    """Add up the trees of each output, and turn the sums into what the model predicts."""
    sums = [
        query.define(add_trees(query, [trees[output] for trees in rounds], columns, first))
        for output, first in enumerate(start)
    ]
    kind = type(link).__name__
    if kind == "IdentityLink":
        return Column(sums[0])
    if kind == "LogLink":
        return apply_exp(query, Column(sums[0]))
    if kind in ("LogitLink", "HalfLogitLink"):
        doubled = query.define(sums[0], " * 2") if kind == "HalfLogitLink" else sums[0]
        return choose_of_two(query, apply_sigmoid(query, doubled), chosen)
    if kind == "MultinomialLogit":
        return apply_softmax(query, sums, chosen or 0)
    raise CannotCompile(f"a loss with {kind}", where)


def choose_of_two(query: Query, second: Column, chosen: int | None) -> Column:
    """The probability of one of two classes, from that of the second."""
    return second if chosen else Column(query.define(1.0, " - ", second.name))
