"""A fitted scikit-learn model as one SQL query over a table, for SQLite, PostgreSQL, DuckDB and SQL Server.

It is made from the fitted attributes in float64, so that it decides as Python does to the last bit of a threshold. The
converters there are (orbital, by way of ONNX) round thresholds to float32, do not know where missing values go, and
write comparisons as values, which T-SQL refuses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adfml_assets.in_database.columns import USUAL, Feature, Query
from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.pipeline import find_classes, predict
from adfml_assets.in_database.sql import Name, Piece, Sql, any_of, build, build_case

MOST_VALUES = 150_000
"""Columns and values in a query at most: 50,000 leaves of trees. 400 trees of 15 leaves have 17,000 of them.

PostgreSQL needs half a gigabyte to plan so many, and SQLite 15 seconds.
"""

_WORTH = 0.75
"""How much shorter usual rows have to be: a database reads a long query for longer than it computes it."""

_MOST_COLUMNS = 1_500  # PostgreSQL takes 1,664 in a query


@dataclass(frozen=True)
class Arranged:
    """A score in levels.

    Attributes:
        levels: the columns of each query over the one below; the first reads the features.
        carried: the columns each level takes over from the one below.
        score: the score, over the columns of the last level.
    """

    levels: tuple[Mapping[Name, Sql], ...]
    carried: tuple[tuple[Name, ...], ...]
    score: Sql


@dataclass(frozen=True)
class CompiledModel:
    """A model as SQL.

    Attributes:
        features: the columns of the table it reads, in the model's order.
        text_features: those that are texts -> what stands for a missing one in Python, None or NaN. The others are
            numbers, or booleans.
        chosen: position of the class whose probability it gives; None for a regression.
        levels: the columns of each query over the one below; the first reads the features.
        carried: the columns each level takes over from the one below.
        numbers, texts: columns of the lowest level -> position of the feature.
        score: the score; NULL where Python gives no finite score, or refuses the row.
        size: columns and values it has in all.
        usual: the score again, in fewer words, of rows whose numbers are all there and within USUAL: nothing is
            infinite there. For databases whose arithmetic goes on where a number becomes too small.
    """

    features: tuple[str, ...]
    text_features: Mapping[str, float | None]
    chosen: int | None
    levels: tuple[Mapping[Name, Sql], ...]
    carried: tuple[tuple[Name, ...], ...]
    numbers: Mapping[Name, int]
    texts: Mapping[Name, int]
    score: Sql
    size: int
    usual: Arranged | None = None


def compile_model(estimator: Any, features: Sequence[str], positive_class: object = None) -> CompiledModel:
    """Compile a fitted model.

    A regression gives its prediction. A classifier gives the probability of a class: that of the second one if there
    are two, as in `predict_proba(rows)[:, 1]`.

    Args:
        estimator: the model, or a pipeline that ends with one.
        features: the names of its columns, in its order.
        positive_class: the class whose probability is asked for; needed where there are more than two.

    Raises:
        CannotCompile: it, or a step of it, has no SQL that would give the same scores; or it takes other features.
    """
    _check_features(estimator, features)
    chosen = choose_class(estimator, positive_class)
    query, score = _compile(estimator, features, chosen, math.inf)
    text_features = {features[position]: query.missing.get(position) for position in query.texts.values()}
    levels, carried = _arrange(features, query.definitions, query.levels, score)
    size = _measure(levels, score)
    if size > MOST_VALUES:
        raise CannotCompile(f"a model of {size:,} columns and values (at most {MOST_VALUES:,})", "the model")
    usual = _compile_usual(estimator, features, chosen) if query.numbers else None
    if usual is not None and _measure(usual.levels, usual.score) > size * _WORTH:
        usual = None
    numbers, texts = dict(query.numbers), dict(query.texts)
    return CompiledModel(tuple(features), text_features, chosen, levels, carried, numbers, texts, score, size, usual)


def _measure(levels: Sequence[Mapping[Name, Sql]], score: Sql) -> int:
    return score.size + sum(expression.size for level in levels for expression in level.values())


def _compile(estimator: Any, features: Sequence[str], chosen: int | None, most: float) -> tuple[Query, Sql]:
    query = Query(features, most=most)
    inputs = [Feature(position) for position in range(len(features))]
    result = predict(query, "the model", estimator, inputs, chosen)
    if result.infinite is not None:
        query.refuse([result.infinite])
    score = build(result.name)
    if query.refusals:
        refused = [build(name, " = 1") for name in query.refusals]
        score = build_case([(any_of(refused), "NULL")], result.name)
    return query, score


def _compile_usual(estimator: Any, features: Sequence[str], chosen: int | None) -> Arranged:
    query, score = _compile(estimator, features, chosen, USUAL)
    uses = Counter(part for one in (score, *query.definitions.values()) for part in one.parts if isinstance(part, Name))
    definitions: dict[Name, Sql] = {}

    def write_out(expression: Sql) -> Sql:
        # A column that is read once, and not in a CASE, need be none; CASE in CASE is limited.
        if any(isinstance(part, str) and "CASE" in part for part in expression.parts):
            return expression
        alone = len(expression.parts) == 1
        pieces: list[Piece] = []
        for part in expression.parts:
            if isinstance(part, Name) and uses[part] == 1 and part in definitions:
                pieces += [definitions[part]] if alone else ["(", definitions[part], ")"]
            else:
                pieces.append(part)
        return build(*pieces)

    levels = dict.fromkeys((*query.numbers, *query.texts), 0)
    for name, expression in query.definitions.items():
        definitions[name] = write_out(expression)
        levels[name] = 1 + max((levels[used] for used in definitions[name].names), default=0)
    score = write_out(score)
    return Arranged(*_arrange(features, definitions, levels, score), score)


def choose_class(estimator: Any, positive_class: object = None) -> int | None:
    """The position of the class whose probability a classifier gives; None for a regression.

    Raises:
        CannotCompile: the class is not one of the model's, or none is named where there are more than two.
    """
    classes = find_classes(estimator)
    if classes is None:
        return None
    listed = ", ".join(map(str, classes))
    if positive_class is None:
        if len(classes) == 2:
            return 1
        raise CannotCompile(
            f"a classifier of {len(classes)} classes", "the model", f"a positive class: one of {listed}"
        )
    if positive_class not in classes:
        raise CannotCompile(
            f"the probability of class {positive_class!r}", "the model", f"one of its classes: {listed}"
        )
    return classes.index(positive_class)


def _check_features(estimator: Any, features: Sequence[str]) -> None:
    own = getattr(estimator, "feature_names_in_", None)
    if own is not None and list(own) != list(features):
        raise CannotCompile(
            f"a model for the features {', '.join(features)}", "the model", f"those it was trained on: {', '.join(own)}"
        )
    width = getattr(estimator, "n_features_in_", None)
    if width is None:
        raise CannotCompile(f"a {type(estimator).__name__} that is not fitted or takes no columns", "the model")
    if width != len(features):
        raise CannotCompile(f"a model of {width} features with {len(features)} names", "the model", f"{width} names")


def _arrange(
    features: Sequence[str], definitions: Mapping[Name, Sql], level_of: Mapping[Name, int], score: Sql
) -> tuple[tuple[Mapping[Name, Sql], ...], tuple[tuple[Name, ...], ...]]:
    """The columns of each level, and those it carries from the level below to the levels above."""
    # Only what the score needs: a refusal or a scaled column may be of no use in the end.
    last_used: dict[Name, int] = {}
    top = 1 + max((level_of[name] for name in score.names), default=0)
    for name in score.names:
        last_used[name] = top
    for name, expression in reversed(list(definitions.items())):
        if name in last_used:
            for read in expression.names:
                last_used[read] = max(last_used.get(read, 0), level_of[name])
    levels: list[dict[Name, Sql]] = [{} for _ in range(1, top)]
    for name, expression in definitions.items():
        if name in last_used:
            levels[level_of[name] - 1][name] = expression
    carried = [
        tuple(name for name, last in last_used.items() if level_of[name] < level < last) for level in range(1, top)
    ]
    widest = max([len(features), *(len(made) + len(kept) for made, kept in zip(levels, carried, strict=True))])
    if widest > _MOST_COLUMNS:
        raise CannotCompile(f"a model of {widest:,} columns in one query (at most {_MOST_COLUMNS:,})", "the model")
    return tuple(levels), tuple(carried)
