"""What the plots of the UI have in common: figures without pyplot, as PNG inside of Markdown, a few ten kilobytes."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE = "#3b6fb6"
"""The colour of what is shown."""

RED = "#c0392b"
"""The colour of what stands out."""

_DPI = 72
_COLOURS = 32
_LONGEST_NAME = 40

PLOT = "!["
"""How a picture begins in Markdown."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    # Not pyplot: that keeps every figure, and its state is the process's.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def to_markdown(figure: Figure, name: str) -> str:
    """A figure as a picture in Markdown; `name` is its alternative text."""
    from PIL import Image

    drawn, target = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    # The event log keeps every plot: a few colours are enough, and a third of the bytes.
    Image.open(drawn).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(target, "png", optimize=True)
    return f"{PLOT}{name}](data:image/png;base64,{base64.b64encode(target.getvalue()).decode()})"


def escape(text: str) -> str:
    """A name as a figure shows it: as it is, and cut where it is long."""
    # matplotlib takes what is between two dollars for a formula.
    shown = text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
    return shown.replace("$", r"\$")
