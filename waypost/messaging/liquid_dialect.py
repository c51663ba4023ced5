"""The Liquid that Waypost offers: which tags and filters, with which limits, and what a parse error says.

Two environments: HTML escapes every value that is not marked `safe`; plain text (subjects, text parts, SMS) escapes
nothing and lets the HTML filters pass text through. No include, render or any other way to a file.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from liquid import Environment, FalsyStrictUndefined, RenderContext
from liquid.builtin import comment_tag, for_tag, illegal
from liquid.builtin.filters.misc import date as liquid_date
from liquid.builtin.tags import (
    assign_tag,
    capture_tag,
    case_tag,
    cycle_tag,
    decrement_tag,
    if_tag,
    increment_tag,
    inline_comment_tag,
    unless_tag,
)
from liquid.exceptions import LiquidError, ResourceLimitError, UndefinedError
from liquid.filter import string_filter, with_context
from liquid.template import BoundTemplate

from waypost.messaging import liquid_limits
from waypost.messaging.content_errors import (
    RenderError,
    RenderLimitError,
    TemplateSyntaxError,
    UndefinedVariableError,
)
from waypost.messaging.plain_text import text_of

MAX_LIQUID_TAGS = 5_000
MAX_LIQUID_TAG = 5_000
"""Characters in one tag, from brace to brace."""
MAX_BRACKETS = 50
"""In one tag: python-liquid takes seconds for a thousand nested ones."""
ROOTS = frozenset({"contact", "data", "tenant", "message", "unsubscribe_url", "preferences_url", "now"})
"""The names a template may start from; rendering.py fills them."""

_TAGS = (
    liquid_limits.PlainText,
    liquid_limits.CheckedOutput,
    illegal.Illegal,
    if_tag.IfTag,
    unless_tag.UnlessTag,
    case_tag.CaseTag,
    liquid_limits.MeteredForTag,
    for_tag.BreakTag,
    for_tag.ContinueTag,
    assign_tag.AssignTag,
    capture_tag.CaptureTag,
    cycle_tag.CycleTag,
    increment_tag.IncrementTag,
    decrement_tag.DecrementTag,
    comment_tag.CommentTag,
    inline_comment_tag.InlineCommentTag,
)
_MAX_DATE_TEXT = 64
_MAX_DATE_FORMAT = 200
_HTML_FILTERS = ("escape", "escape_once", "newline_to_br", "safe")
_DELIMITERS = re.compile(r"\{\{|\{%")
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
# glibc's strftime pads to any width: %0999999999d runs for minutes.
_WIDE_DIRECTIVE = re.compile(r"%[^a-zA-Z%]*[0-9]{3}")
_RAW = re.compile(r"\{%-?\s*+(raw|endraw|doc|enddoc)\s*+-?%\}")
_HINTS = {
    "include": "Templates cannot include others.",
    "render": "Templates cannot include others.",
    "liquid": "Write each tag on its own.",
    "echo": "Use {{ … }}.",
    "tablerow": "Use for with table rows of your own.",
}


class LiquidDialect(Environment):
    """python-liquid's environment with our tags, filters and limits."""

    template_class = liquid_limits.MeteredTemplate
    loop_iteration_limit = liquid_limits.MAX_LOOP_ITERATIONS
    block_nesting_limit = 30

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        """Register python-liquid's filters but our tags only."""
        super().setup_tags_and_filters(extra=extra)
        self.tags.clear()
        for tag in _TAGS:
            self.add_tag(tag)
        self.add_filter("date", _date)
        self.add_filter("strip_html", _strip_html)
        if not self.autoescape:
            for name in _HTML_FILTERS:
                self.add_filter(name, _as_is)


@cache
def dialect(*, autoescape: bool) -> LiquidDialect:
    """The environment for HTML (`autoescape`) or for plain text."""
    return LiquidDialect(undefined=FalsyStrictUndefined, autoescape=autoescape)


def _as_is(value: object) -> object:
    return value


@string_filter
def _strip_html(value: str) -> str:
    # The builtin uses HTMLParser; see markup.py. The result is text and is escaped again in HTML.
    return text_of(value)


@with_context
def _date(value: object, fmt: object = "%Y-%m-%d", *, context: RenderContext) -> object:
    """The builtin, but `now` comes from the caller and whole numbers are UTC, not this machine's zone."""
    if isinstance(value, str) and value in ("now", "today"):
        value = context.resolve("now")
    elif isinstance(value, str) and len(value) > _MAX_DATE_TEXT:
        return value
    if isinstance(value, str) and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = datetime.fromtimestamp(value, UTC)
    if isinstance(fmt, str) and (len(fmt) > _MAX_DATE_FORMAT or _WIDE_DIRECTIVE.search(fmt)):
        raise liquid_limits.UnfitValueError("The format of date is too long or too wide.")
    return liquid_date(value, fmt, environment=context.env)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiquidText:
    """One compiled piece of Liquid. `field` is where it came from; `constant` where it holds no Liquid at all."""

    field: str
    constant: str | None
    template: BoundTemplate | None
    variables: frozenset[str]

    def render(self, context: Mapping[str, object]) -> str:
        """The text for one message. Raises `RenderError`, whose text repeats no value."""
        if self.template is None:
            return self.constant or ""
        with self.failing_as_rendering():
            return self.template.render(context)

    @contextmanager
    def failing_as_rendering(self) -> Iterator[None]:
        """Whatever python-liquid raises within becomes a `RenderError`, whose text repeats no value."""
        try:
            yield
        except UndefinedError as error:
            raise _undefined(error, self.field) from None
        except LiquidError as error:
            raise _render_error(error, self.field) from None
        except (RecursionError, MemoryError, ArithmeticError, ValueError, TypeError, AttributeError, LookupError):
            # What python-liquid's filters let through; their text may quote a value.
            raise RenderError("A filter in the template cannot work on its value.", field=self.field) from None


def compile_liquid(source: str, *, field: str, autoescape: bool) -> LiquidText:
    """Parse Liquid and check its names. Raises `TemplateSyntaxError` with the line and the variable."""
    tags = len(_DELIMITERS.findall(source))
    if tags == 0:
        return LiquidText(field=field, constant=source, template=None, variables=frozenset())
    _check_shape(source, tags, field)
    try:
        template = dialect(autoescape=autoescape).from_string(source)
        liquid_limits.fit(template)
        variables = _variables(template, source, field)
    except LiquidError as error:
        raise _syntax_error(error, source, field) from None
    except RecursionError:
        raise TemplateSyntaxError("An expression is nested too deeply.", field=field) from None
    return LiquidText(field=field, constant=None, template=template, variables=variables)


def _check_shape(source: str, tags: int, field: str) -> None:
    """Refuse in one pass what makes python-liquid's lexer scan the rest of the source again at every tag."""
    if tags > MAX_LIQUID_TAGS:
        raise TemplateSyntaxError(
            f"A template may have {MAX_LIQUID_TAGS} Liquid tags.", field=field, bound=MAX_LIQUID_TAGS
        )
    for opening, closing in (("{{", "}}"), ("{%", "%}")):
        at = source.rfind(opening)
        if at > source.rfind(closing):
            raise TemplateSyntaxError(f"{opening} is never closed by {closing}.", field=field, line=_line(source, at))
    for found in _TAG.finditer(source):
        if len(found[0]) > MAX_LIQUID_TAG or found[0].count("[") + found[0].count("(") > MAX_BRACKETS:
            raise TemplateSyntaxError(
                f"A Liquid tag may have {MAX_LIQUID_TAG} characters and {MAX_BRACKETS} brackets.",
                field=field,
                line=_line(source, found.start()),
                bound=MAX_LIQUID_TAG,
            )
    expected = ""
    for found in _RAW.finditer(source):
        if expected not in ("", found[1]) or (not expected and found[1].startswith("end")):
            raise TemplateSyntaxError(f"{found[1]} is out of place.", field=field, line=_line(source, found.start()))
        expected = "" if expected else "end" + found[1]
    if expected:
        raise TemplateSyntaxError(f"{expected} is missing.", field=field)


def _variables(template: BoundTemplate, source: str, field: str) -> frozenset[str]:
    paths: set[str] = set()
    analysis = template.analyze(include_partials=False)
    for name in analysis.filters:
        if name not in template.env.filters:
            at = analysis.filters[name][0].index
            raise TemplateSyntaxError(f"There is no filter {name}.", field=field, line=_line(source, at))
    for root, uses in analysis.globals.items():
        if root not in ROOTS:
            raise TemplateSyntaxError(
                f"There is no variable {root}.",
                field=field,
                line=_line(source, uses[0].span.index),
                variable=str(uses[0]),
                hint=f"Write data.{root} for what a message brings, or contact.attributes.{root} for what is known "
                f"of its recipient. Templates start from {', '.join(sorted(ROOTS))}.",
            )
        paths.update(_dotted(use.segments) for use in uses)
    return frozenset(paths - {"now"})


def _dotted(segments: list[Any]) -> str:
    # Up to the first index or computed part: data.items[0].name needs data.items.
    names: list[str] = []
    for segment in segments:
        if not isinstance(segment, str):
            break
        names.append(segment)
    return ".".join(names)


def _line(source: str, index: int) -> int:
    return source.count("\n", 0, max(index, 0)) + 1


def _error_line(error: LiquidError) -> int | None:
    token = error.token
    return None if token is None or token.start_index < 0 else _line(token.source, token.start_index)


def _syntax_error(error: LiquidError, source: str, field: str) -> TemplateSyntaxError:
    # A parse error's text quotes the template at most, never data.
    message = str(error.message or "This is not valid Liquid")
    name = message.rpartition("'")[0].rpartition("'")[2]
    line = _error_line(error)
    if line is None and (missing := re.search(r"expected tag end(\w+)", message)):
        line = _unclosed_line(source, missing[1])
    elif line is None:
        line = _broken_output_line(source)
    return TemplateSyntaxError(f"Liquid: {message}.", field=field, line=line, hint=_HINTS.get(name))


def _broken_output_line(source: str) -> int | None:
    """The line of the first `{{ … }}` that does not parse alone, where python-liquid names no place."""
    for found in _TAG.finditer(source):
        try:
            if found[0].startswith("{{"):
                dialect(autoescape=False).from_string(found[0])
        except LiquidError:
            return _line(source, found.start())
    return None


def _unclosed_line(source: str, tag: str) -> int | None:
    """The line of the last opening tag that nothing closes; python-liquid only says that the end of the file came."""
    opened: list[int] = []
    for found in re.finditer(rf"\{{%-?\s*+(end)?{tag}\b", source):
        if not found[1]:
            opened.append(found.start())
        elif opened:
            opened.pop()
    return _line(source, opened[-1]) if opened else None


def _undefined(error: UndefinedError, field: str) -> UndefinedVariableError:
    found = re.search(r"[\w.\[\]'\"-]+", str(error.message))
    token_text = error.token.value if error.token is not None else ""
    variable = token_text if "." in token_text else (found[0].strip("'\"") if found else token_text)
    return UndefinedVariableError(
        f"{variable} has no value.",
        field=field,
        line=_error_line(error),
        variable=variable,
        hint=f'Send it, or give it a default: {{{{ {variable} | default: "…" }}}}.',
    )


def _render_error(error: LiquidError, field: str) -> RenderError:
    line = _error_line(error)
    if isinstance(error, ResourceLimitError):
        return RenderLimitError(
            "The template does more than one message may: too many loop rounds, too much output or too large a value.",
            field=field,
            line=line,
            bound=liquid_limits.MAX_LOOP_ITERATIONS,
            hint=f"Loops may run {liquid_limits.MAX_LOOP_ITERATIONS} rounds; output may have "
            f"{liquid_limits.MAX_OUTPUT} characters. Send less data, or summarise it first.",
        )
    return RenderError(
        error.sentence
        if isinstance(error, liquid_limits.UnfitValueError)
        else "A filter or tag in the template cannot work on its value.",
        field=field,
        line=line,
        hint="Check the types of the data used on this line.",
    )
