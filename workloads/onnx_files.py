"""Models as `.onnx`, whatever library made them: a graph of known operators, so loading one runs no foreign code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workloads.errors import ModelFileError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FEATURES_ENTRY = "features"
"""Entry of an ONNX file's own metadata that may name its features, as a JSON list in the model's order."""

_PRECISION = {"tensor(float)": "float32", "tensor(double)": "float64"}
_ERRORS_ONLY = 4


class OnnxModel:
    """A regression model that onnxruntime runs on the CPU.

    Args:
        session: The loaded graph: one input, a matrix of float32 or float64; its first output is the score.
        shown_as: The path the user knows the file by, for errors.

    Attributes:
        width: How many features it takes; None where the file leaves that open.

    Raises:
        ModelFileError: The graph takes something else than one matrix of numbers.
    """

    def __init__(self, session: Any, shown_as: str) -> None:
        inputs = session.get_inputs()
        kinds = [f"{one.name} {one.type}{list(one.shape)}" for one in inputs]
        if len(inputs) != 1 or inputs[0].type not in _PRECISION or len(inputs[0].shape) != 2:
            raise ModelFileError(
                f"{shown_as} is refused: it takes {', '.join(kinds) or 'nothing'}, expected one matrix of float32 or "
                "float64 with a column for each feature: convert the model again with one input",
                inputs=kinds,
            )
        self._session = session
        self._shown_as = shown_as
        self._input = inputs[0].name
        self._precision = _PRECISION[inputs[0].type]
        width = inputs[0].shape[1]
        self.width = width if isinstance(width, int) else None

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """A score for each row, float64. Missing values go in as NaN, numbers in the file's precision.

        Raises:
            ModelFileError: The graph cannot be run over the rows, or does not give one number a row.
        """
        import numpy as np

        matrix = np.ascontiguousarray(features.to_numpy(), dtype=self._precision)
        try:
            found = np.asarray(self._session.run(None, {self._input: matrix})[0], dtype=np.float64)
        except Exception as error:  # onnxruntime's errors have no common base
            raise ModelFileError(
                f"{self._shown_as} cannot score: {_first_line(error)}: convert the model again", rows=len(matrix)
            ) from error
        if found.size != len(matrix):
            raise ModelFileError(
                f"{self._shown_as} gave {found.size} numbers for {len(matrix)} rows, expected one score a row as its "
                "first output: convert the model again",
                shape=found.shape,
            )
        return found.reshape(-1)


def load_onnx(content: bytes, shown_as: str, features: tuple[str, ...]) -> OnnxModel:
    """Load an ONNX model.

    Args:
        content: The file. Weights must be inside it: files beside it are not read, because no hash vouches for them.
        shown_as: The path the user knows it by, for the error.
        features: The features that the model's metadata.json names, in order.

    Raises:
        ModelFileError: onnxruntime is not installed or refuses the file, or the file takes other features: another
            number of them, or other names in its own metadata entry `features`.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelFileError(f"{shown_as} needs onnxruntime, which is not installed here: install it") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY  # what goes wrong is raised; a log would come after the last line
    # Where cores are shared, threads that spin while they wait take the time they are to save.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        named = json.loads(session.get_modelmeta().custom_metadata_map.get(FEATURES_ENTRY, "null"))
    except Exception as error:  # onnxruntime's errors have no common base
        raise ModelFileError(f"{shown_as} is not a whole ONNX model: {_first_line(error)}") from error
    model = OnnxModel(session, shown_as)
    if model.width not in (None, len(features)) or (named is not None and tuple(named) != features):
        own = f"[{', '.join(map(str, named))}]" if named is not None else f"{model.width} features"
        raise ModelFileError(
            f"{shown_as} takes {own}, its metadata.json says [{', '.join(features)}]: give both the same features in "
            "the same order",
            model=named if named is not None else model.width,
            metadata=features,
        )
    return model


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
