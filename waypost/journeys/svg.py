"""A journey as an SVG picture that stands alone: no script, no font, no link, and it follows a dark page."""

import textwrap
from collections.abc import Iterator, Mapping
from html import escape

from waypost.journeys.document import Journey
from waypost.journeys.drawing import Box, draw
from waypost.journeys.layout import BOX_HEIGHT, BOX_WIDTH, Line, lay_out

_STYLE = """
  svg { font: 12px system-ui, sans-serif; background: #fff; } text { fill: #1c1f26; text-anchor: middle; }
  .head { font-weight: 600; } .line { fill: none; stroke: #8a92a3; stroke-width: 1.4; } .tip { fill: #8a92a3; }
  .label { fill: #4a5160; font-size: 11px; paint-order: stroke; stroke: #fff; stroke-width: 4px; }
  rect { stroke: #8a92a3; fill: #f6f7f9; } .send { fill: #e2efff; } .wait { fill: #fff3d6; } .choice { fill: #efe6ff; }
  .entry { fill: #dff5e5; } .exit { fill: #fde3e3; } .badge { fill: #1c1f26; stroke: none; }
  .count { fill: #fff; font-weight: 600; font-size: 11px; }
  @media (prefers-color-scheme: dark) {
    svg { background: #16181d; } text { fill: #e8eaf0; } .label { fill: #b4bac8; stroke: #16181d; }
    rect { fill: #22252d; } .send { fill: #17324f; } .wait { fill: #41340f; } .choice { fill: #33234f; }
    .entry { fill: #163d25; } .exit { fill: #4a1f22; } .badge { fill: #e8eaf0; } .count { fill: #16181d; }
  }
"""
_ROUND = {"entry": BOX_HEIGHT / 2, "wait": 18.0, "exit": BOX_HEIGHT / 2, "choice": 0.0}


def to_svg(journey: Journey, counts: Mapping[str, int] | None = None) -> str:
    """The picture. `counts`: how many contacts are at a step now."""
    drawing = draw(journey, counts)
    layout = lay_out(drawing)
    width, height = f"{layout.width:.0f}", f"{layout.height:.0f}"
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{_text(drawing.title)}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
        *(_path(line) for line in layout.lines),
        *(part for box in drawing.boxes for part in _box(box, *layout.places[box.id])),
        *(_label(line) for line in layout.lines if line.arrow.label),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _path(line: Line) -> str:
    points = line.points
    if line.back:
        way = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        return f'<path class="line" d="M{way}" marker-end="url(#tip)" stroke-linejoin="round"/>'
    way = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for place in range(1, len(points)):
        (x0, y0), (x1, y1) = points[place - 1], points[place]
        middle = (y0 + y1) / 2
        way += f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    return f'<path class="line" d="{way}" marker-end="url(#tip)"/>'


def _label(line: Line) -> str:
    (x0, y0), (x1, y1) = line.points[:2]
    x, y = (x0 + 34, y0 - 5) if line.back else ((x0 + x1) / 2, (y0 + y1) / 2 + 4)
    return f'<text class="label" x="{x:.1f}" y="{y:.1f}">{_text(_short(line.arrow.label, 24))}</text>'


def _box(box: Box, x: float, y: float) -> Iterator[str]:
    left, corner = x - BOX_WIDTH / 2, _ROUND.get(box.shape, 5.0)
    yield f"<g><title>{_text(f'{box.head}: {box.text}')}</title>"
    yield (
        f'<rect class="{box.shape}" x="{left:.1f}" y="{y:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" '
        f'rx="{corner:.0f}"/>'
    )
    yield f'<text class="head" x="{x:.1f}" y="{y + 18:.1f}">{_text(_short(box.head, 28))}</text>'
    for place, words in enumerate(textwrap.wrap(box.text, 32, max_lines=2, placeholder="…")):
        yield f'<text x="{x:.1f}" y="{y + 34 + 15 * place:.1f}">{_text(words)}</text>'
    if box.count is not None:
        said = f"{box.count:,}"
        width = 14 + 7 * len(said)
        yield f'<rect class="badge" x="{x + 96 - width:.1f}" y="{y - 9:.1f}" width="{width}" height="18" rx="9"/>'
        yield f'<text class="count" x="{x + 96 - width / 2:.1f}" y="{y + 4:.1f}">{said}</text>'
    yield "</g>"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(text: str) -> str:
    """Escaped, without the control characters that XML cannot hold."""
    return escape("".join(letter if letter >= " " and letter not in "\ufffe\uffff" else " " for letter in text))
