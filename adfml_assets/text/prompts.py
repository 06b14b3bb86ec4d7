"""What a model is asked of a row: a Jinja2 template over the table's columns, rendered for a whole batch at once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adfml_assets.errors import AdfmlError

if TYPE_CHECKING:
    import pyarrow as pa


class TemplateInvalid(AdfmlError):
    """A template cannot be rendered."""

    def __init__(self, declaration: str, reason: str) -> None:
        self.declaration = declaration
        self.reason = reason
        super().__init__(f"{declaration}: engine.template cannot be used: {reason}")


@dataclass(frozen=True)
class Prompt:
    """A template, ready to be rendered.

    Attributes:
        declaration: whose it is, for messages.
        columns: those it names, in alphabetical order.
    """

    declaration: str
    columns: tuple[str, ...]
    _template: Any = field(repr=False)
    _row_end: str = field(repr=False)

    def render(self, rows: pa.Table) -> list[str]:
        """The prompts of rows, in their order; NULL is rendered as nothing.

        Raises:
            TemplateInvalid: a row cannot be rendered.
        """
        import jinja2

        values = zip(*(rows.column(name).to_pylist() for name in self.columns), strict=True)
        try:
            return self._template.render(_adfml_rows=values).split(self._row_end)[:-1]
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise TemplateInvalid(self.declaration, f"{type(error).__name__}: {error}") from None


def compile_prompt(declaration: str, template: str) -> Prompt:
    """A template as a prompt.

    The sandbox keeps a template from reaching into Python; a name that is no column is a mistake, never nothing.

    Raises:
        TemplateInvalid: its syntax is wrong, or it names no column.
    """
    import jinja2
    from jinja2 import meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, finalize=_show)
    # Without them every name that a template does not set itself is a column.
    environment.globals.clear()
    # A last line feed is the YAML block's; Jinja2 drops it as well.
    source = template.removesuffix("\n")
    try:
        columns = tuple(sorted(meta.find_undeclared_variables(environment.parse(source))))
        if not columns:
            raise TemplateInvalid(declaration, "it names no column, so that every row would be asked the same.")
        # One call renders a whole batch: a call a row would take ten times as long. No text holds the mark by chance.
        row_end = f"\0{uuid.uuid4().hex}\0"
        looped = f"{{% for ({', '.join(columns)},) in _adfml_rows %}}{source}{row_end}{{% endfor %}}"
        return Prompt(declaration, columns, environment.from_string(looped), row_end)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateInvalid(declaration, f"{error.message} (line {error.lineno})") from None


def _show(value: Any) -> Any:
    return "" if value is None else value
