"""Liquid that cannot run away: what each value, loop and filter may cost.

python-liquid has limits for output and nested loops, and none for the rest: `(1..100000000) | join`, a chain of
`replace` or twenty thousand small loops take gigabytes or minutes. Here a render has a budget of work, about one unit a
character of template interpreted (some 50 ns), charged before the work is done, so that the same template with the same
data always ends the same way, however loaded the machine is.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any, TextIO

from liquid import RenderContext, TokenStream
from liquid.ast import BlockNode, Node
from liquid.builtin.content import ContentNode, Literal
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.for_tag import ForNode, ForTag
from liquid.context import builtin
from liquid.exceptions import (
    LiquidTypeError,
    LocalNamespaceLimitError,
    LoopIterationLimitError,
    OutputStreamLimitError,
    ResourceLimitError,
)
from liquid.expression import Expression
from liquid.output import LimitedStringIO
from liquid.stringify import to_liquid_string
from liquid.template import BoundTemplate
from liquid.token import Token
from liquid.utils import ReadOnlyChainMap
from markupsafe import Markup

MAX_WORK = 10_000_000
MAX_LOOP_ITERATIONS = 10_000
MAX_OUTPUT = 2_000_000
MAX_LOCALS_BYTES = 2_000_000
MAX_LOCALS = 500
MAX_TEXT_VALUE = 500_000
MAX_LIST_VALUE = 10_000
MAX_INTEGER_BITS = 256

_FILTER_COST = 20
_CONTAINER_COST = 1_000
_ELSEWHERE = object()
_SPECIAL = re.compile("[&<>'\"]")
"""What escaping changes."""
_PLAIN = frozenset({str, Markup, int, float, bool, type(None)})
_FILTERS_OF_CONTAINERS = frozenset(
    {"default", "size", "first", "last", "map", "where", "reject", "find", "find_index", "has", "sort", "sort_natural"}
    | {"uniq", "compact", "sum", "reverse", "concat", "join", "slice"}
)


class WorkLimitError(ResourceLimitError):
    """The render's budget of work is used up."""


class ValueLimitError(ResourceLimitError):
    """A value grew past its bound."""


class UnfitValueError(LiquidTypeError):
    """A value that cannot be shown or filtered; `sentence` repeats nothing of it."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, token=None)
        self.sentence = sentence


class QuickScope(ReadOnlyChainMap):
    """python-liquid's names, looked up without raising an error for each mapping that lacks one."""

    def __getitem__(self, key: str) -> object:
        for names in self._maps:
            if key in names:
                return names[key]
        raise KeyError(key)


class MeteredContext(RenderContext):
    """A render context that pays for lookups, filters, loops and assignments."""

    __slots__ = ("body_cost", "locals_bytes", "locals_sizes", "work")

    def __init__(self, template: BoundTemplate, **options: Any) -> None:
        super().__init__(template, **options)
        self.scope = QuickScope(self.locals, self.globals, builtin, self.counters)
        self.work = 0
        self.body_cost = 1
        self.locals_bytes = 0
        self.locals_sizes: dict[str, int] = {}

    def spend(self, units: int) -> None:
        """Pay before working. Raises `WorkLimitError`."""
        self.work += units
        if self.work > MAX_WORK:
            raise WorkLimitError("work limit reached", token=None)

    def get(self, path: list[object], *, token: Token | None, **options: Any) -> object:
        """Look a variable up; long text and lists pay for what is done with them next."""
        value = self._find(path)
        if value is _ELSEWHERE:
            value = super().get(path, token=token, **options)
        kind = type(value)
        if kind is str or kind is Markup:
            self.spend(1 + (len(value) >> 4))  # type: ignore[arg-type]  # a str either way; isinstance is twice as slow
        elif kind is list or kind is dict:
            self.spend(_CONTAINER_COST)
        return value

    def _find(self, path: list[object]) -> object:
        """What lies in plain dicts, as nearly all that templates read does; `_ELSEWHERE`: ask python-liquid.

        Its own look-up takes five times as long, for it asks at each step for what Liquid has of other kinds.
        """
        try:
            found = self.scope[path[0]]  # type: ignore[index]  # anything but a name is not found
            for segment in path[1:]:
                if type(found) is not dict:
                    return _ELSEWHERE
                found = found[segment]
        except (KeyError, TypeError):
            return _ELSEWHERE
        return found

    def assign(self, key: str, val: Any) -> None:
        """Set a local. Counted as it goes: python-liquid sums all locals at every assignment."""
        size = sys.getsizeof(val, 64)
        self.locals_bytes += size - self.locals_sizes.get(key, 0)
        self.locals_sizes[key] = size
        if self.locals_bytes > MAX_LOCALS_BYTES or len(self.locals_sizes) > MAX_LOCALS:
            raise LocalNamespaceLimitError("local namespace limit reached", token=None)
        self.locals[key] = val

    @contextmanager
    def loop(self, namespace: Mapping[str, object], forloop: Any) -> Iterator[RenderContext]:
        """Pay for all rounds of a loop before the first."""
        self.spend(forloop.length * self.body_cost)
        with super().loop(namespace, forloop) as context:
            yield context

    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        """A buffer for a capture, within what is left of the one around it."""
        used = buf.size if isinstance(buf, LimitedStringIO) else 0
        return BoundedBuffer(MAX_OUTPUT - used)

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        """The filter, charged for what goes in and bounded in what comes out."""
        apply = super().filter(name, token=token)

        def metered(value: object, *args: object, **kwargs: object) -> object:
            self.spend(_FILTER_COST + sum(_weigh(item) >> 3 for item in (value, *args)))
            _refuse_growth(name, value, args)
            if name == "uniq" and isinstance(value, list):
                self.spend(len(value) ** 2 // 2)
            result = apply(value, *args, **kwargs)
            _weigh(result)
            return result

        return metered


class BoundedBuffer(LimitedStringIO):
    """Output bounded in characters; python-liquid's own encodes every piece to count bytes."""

    def write(self, text: str, /) -> int:
        """Add text. Raises `OutputStreamLimitError`."""
        self.size += len(text)
        if self.size > self.limit:
            raise OutputStreamLimitError("output limit reached", token=None)
        return StringIO.write(self, text)


class MeteredTemplate(BoundTemplate):
    """A template rendered in a metered context."""

    context_class = MeteredContext

    def _get_buffer(self) -> StringIO:
        return BoundedBuffer(MAX_OUTPUT)

    def make_globals(self, render_args: Mapping[str, object]) -> Mapping[str, object]:
        """The arguments themselves: our templates have no front matter and no globals to look through."""
        return render_args


def _weigh(value: object) -> int:
    """Roughly the characters of work in a value. Raises `ValueLimitError` if it is past its bound."""
    if isinstance(value, str):
        size = len(value)
        too_big = size > MAX_TEXT_VALUE
    elif isinstance(value, list | tuple | range):
        size = 128 * len(value) if len(value) <= MAX_LIST_VALUE else 0
        too_big = len(value) > MAX_LIST_VALUE or _text_in(value) > MAX_TEXT_VALUE
    elif isinstance(value, int):
        size = 1
        too_big = value.bit_length() > MAX_INTEGER_BITS
    else:
        return 1
    if too_big:
        raise ValueLimitError("a value in the template grew too large", token=None)
    return size


def _text_in(items: Iterable[object]) -> int:
    return 0 if isinstance(items, range) else sum(len(item) for item in items if isinstance(item, str))


def _refuse_growth(name: str, value: object, args: tuple[object, ...]) -> None:
    """Refuse what would multiply text or print whole objects, before it is built."""
    if isinstance(value, Mapping | list | tuple) and not _prints_nothing(value):
        if name not in _FILTERS_OF_CONTAINERS:
            raise UnfitValueError(f"The filter {name} works on text and numbers, not on a list or an object.")
        if name == "join" or (name == "sort_natural" and not args):
            _refuse_objects(value)
    grown = 0
    if name == "join" and isinstance(value, list | tuple | range):
        grown = _text_in(value) + len(value) * (len(str(args[0])) if args else 1)
    elif name == "replace" and len(args) > 1 and isinstance(value, str):
        old, new = str(args[0]), str(args[1])
        grown = len(value) + value.count(old) * max(len(new) - len(old), 0)
    if grown > MAX_TEXT_VALUE:
        raise ValueLimitError("a value in the template grew too large", token=None)


def _prints_nothing(value: object) -> bool:
    """Whether a container prints nothing; python-liquid's `Undefined` is a mapping and says itself what is wrong."""
    return hasattr(value, "force_liquid_default") or not value


def _refuse_objects(value: object) -> None:
    if isinstance(value, Mapping):
        raise UnfitValueError("An object cannot be printed; name one of its fields.")
    if isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, Mapping | list | tuple):
                raise UnfitValueError("A list of objects cannot be printed; loop over it.")


class CheckedOutputNode(OutputNode):
    """`{{ … }}` that refuses to print whole objects, which would show Python's notation to a customer."""

    __slots__ = ()

    def __init__(self, token: Token, expression: Expression) -> None:
        bare = type(expression) is FilteredExpression and not expression.filters
        super().__init__(token, expression.left if bare else expression)  # type: ignore[attr-defined]  # it is one

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Render the node to the output buffer."""
        value = self.expression.evaluate(context)
        if type(value) is str and (not context.autoescape or _SPECIAL.search(value) is None):
            return buffer.write(value)
        if type(value) not in _PLAIN and isinstance(value, Mapping | list | tuple) and not _prints_nothing(value):
            _refuse_objects(value)
        return buffer.write(to_liquid_string(value, context.autoescape))

    render = render_to_output
    """Asks for no disabled tags: none of our tags disables another."""


class CheckedOutput(Output):
    """Pseudo tag of `{{ … }}`."""

    node_class = CheckedOutputNode


class TextNode(ContentNode):
    """What stands between tags."""

    __slots__ = ()

    def render(self, _: RenderContext, buffer: TextIO) -> int:
        """Write it, without asking for disabled tags."""
        return buffer.write(self.text)


class PlainText(Literal):
    """Pseudo tag of what stands between tags."""

    node_class = TextNode


class PlainBlock(BlockNode):
    """The inside of a loop or branch, rendered without a generator."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Render the nodes to the output buffer."""
        if self.blank:
            return super().render_to_output(context, buffer)
        written = 0
        for node in self.nodes:
            written += node.render(context, buffer)
        return written

    render = render_to_output


class MeteredForNode(ForNode):
    """A loop that knows what one round of its body costs."""

    __slots__ = ("body_cost",)

    body_cost: int

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Render the node to the output buffer."""
        if isinstance(context, MeteredContext):
            context.body_cost = self.body_cost
        return super().render_to_output(context, buffer)


class MeteredForTag(ForTag):
    """`for`, measuring the source of its body, the best guess at its cost."""

    node_class = MeteredForNode

    def parse(self, stream: TokenStream) -> Node:
        """Parse tokens from the stream into a node."""
        start = stream.current.start_index
        node = super().parse(stream)
        if isinstance(node, MeteredForNode):
            node.body_cost = max(stream.current.start_index - start, 1)
        return node


class CappedRange(RangeLiteral):
    """`(a..b)` that is refused when it is longer than a loop may be."""

    __slots__ = ()

    def _make_range(self, start: Any, stop: Any) -> range:
        made = super()._make_range(start, stop)
        # Not len(): it overflows for the largest.
        if made.stop - made.start > MAX_LOOP_ITERATIONS:
            raise LoopIterationLimitError("range limit reached", token=self.token)
        return made


class FixedPath(Path):
    """A path of names and numbers alone, which need no evaluating: `contact.city`, not `data[contact.city]`."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        """What lies there."""
        return context.get(self.path, token=self.token)  # type: ignore[arg-type]  # it only reads


def fit(template: BoundTemplate) -> None:
    """Make every range literal of a template a capped one, and blocks and paths those that render faster.

    The parser builds them itself and offers no hook, hence the change of class after parsing.
    """
    context = RenderContext(template)
    nodes = list(template.nodes)
    while nodes:
        node = nodes.pop()
        if type(node) is BlockNode:
            node.__class__ = PlainBlock
        nodes.extend(node.children(context, include_partials=False))
        expressions = list(node.expressions())
        while expressions:
            expression: Expression = expressions.pop()
            if type(expression) is RangeLiteral:
                expression.__class__ = CappedRange
            elif type(expression) is Path and not any(isinstance(segment, Path) for segment in expression.path):
                expression.__class__ = FixedPath
            expressions.extend(expression.children())
