"""Liquid rendered in pieces: what is the same for everybody apart from what is each recipient's own.

A template's top-level text is static; what stands between is one region for each gap. Rendering the regions of a
template costs no more than its tags do, however long its text is, and its limits count as if all had been written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import add
from typing import TextIO, cast

from liquid import RenderContext
from liquid.ast import Node
from liquid.builtin.content import ContentNode
from liquid.exceptions import OutputStreamLimitError
from liquid.token import Token

from waypost.messaging.liquid_dialect import LiquidText
from waypost.messaging.liquid_limits import MAX_OUTPUT, BoundedBuffer, MeteredTemplate
from waypost.messaging.liquid_quick import QuickText, cut, quick

SHORTEST_STATIC = 24
"""Text shorter than this is left to the regions around it: a gap costs about as much as it."""


class SlotBuffer(BoundedBuffer):
    """Takes the regions' output, and notes where the static text between them was passed over."""

    def __init__(self) -> None:
        super().__init__(MAX_OUTPUT)
        self._cuts: list[int] = []

    def pass_over(self, length: int) -> None:
        """Count static text of so many characters, and end the region. Raises `OutputStreamLimitError`."""
        self.size += length
        if self.size > self.limit:
            raise OutputStreamLimitError("output limit reached", token=None)
        self._cuts.append(self.tell())

    def regions(self) -> list[str]:
        """What each region printed: one more than there are static texts."""
        text = self.getvalue()
        return [text[start:end] for start, end in zip((0, *self._cuts), (*self._cuts, len(text)), strict=True)]


class StaticMark(Node):
    """Stands where a static text was."""

    __slots__ = ("length",)

    def __init__(self, token: Token, length: int) -> None:
        super().__init__(token)
        self.length = length

    def render_to_output(self, _: RenderContext, buffer: TextIO) -> int:
        """Pass over the text."""
        cast(SlotBuffer, buffer).pass_over(self.length)
        return self.length


class SlottedLiquid(MeteredTemplate):
    """A template whose static texts are marks."""

    def render_regions(self, context: Mapping[str, object]) -> list[str]:
        """Render the regions alone. Raises what `render` does."""
        buffer = SlotBuffer()
        self.render_with_context(self.context_class(self, globals=self.make_globals(context)), buffer)
        return buffer.regions()


@dataclass(frozen=True, slots=True)
class Pieces:
    """A compiled text taken apart: region, static text, region … region. `prints`: whether a region can print."""

    source: LiquidText
    template: SlottedLiquid | None
    quick: QuickText | None
    statics: tuple[str, ...]
    prints: tuple[bool, ...]

    def regions(self, context: Mapping[str, object]) -> list[str]:
        """Each region for one message. Raises `RenderError` as `LiquidText.render` does."""
        if self.template is None:
            return ["", ""]
        regions = None if self.quick is None else self.quick.regions(context)
        if regions is not None:
            return regions
        with self.source.failing_as_rendering():
            return self.template.render_regions(context)

    def text(self, context: Mapping[str, object]) -> str:
        """The whole text for one message: regions and static texts together."""
        regions = self.regions(context)
        return regions[0] + "".join(map(add, self.statics, regions[1:]))


def take_apart(text: LiquidText) -> Pieces:
    """The pieces of a compiled text: joined in order they are what it renders to."""
    if text.template is None:
        return Pieces(text, None, None, (text.constant or "",), (False, False))
    nodes: list[Node] = []
    statics: list[str] = []
    prints = [False]
    for run in _runs(text.template.nodes):
        static = "".join(_as_written(node) for node in run if isinstance(node, ContentNode))
        if isinstance(run[0], ContentNode) and len(static) >= SHORTEST_STATIC and not static.isspace():
            nodes.append(StaticMark(run[0].token, sum(len(node.text) for node in run if isinstance(node, ContentNode))))
            statics.append(static)
            prints.append(False)
        else:
            nodes += run
            prints[-1] = True
    template = SlottedLiquid(text.template.env, nodes)
    marked = [cut(node.length) if isinstance(node, StaticMark) else node for node in nodes]
    program = quick(marked, env=text.template.env)
    return Pieces(text, template, program, tuple(statics), tuple(prints))


def _runs(nodes: Sequence[Node]) -> list[list[Node]]:
    """The nodes, those of plain text that follow each other together."""
    runs: list[list[Node]] = []
    for node in nodes:
        if runs and isinstance(node, ContentNode) and isinstance(runs[-1][0], ContentNode):
            runs[-1].append(node)
        else:
            runs.append([node])
    return runs


def _as_written(node: ContentNode) -> str:
    """Its text as it comes out of python-liquid's buffer, a StringIO that makes each kind of line break a `\\n`."""
    return node.text.replace("\r\n", "\n").replace("\r", "\n")
