"""A journey as Mermaid's flowchart, which GitHub and many wikis draw."""

import re
from collections.abc import Iterator, Mapping

from waypost.journeys.document import Journey
from waypost.journeys.drawing import Box, Drawing, draw

_SHAPES: Mapping[str, tuple[str, str]] = {
    "entry": ("([", "])"),
    "send": ("[", "]"),
    "wait": ("([", "])"),
    "choice": ("{{", "}}"),
    "act": ("[/", "/]"),
    "exit": ("((", "))"),
}


def to_mermaid(journey: Journey, counts: Mapping[str, int] | None = None) -> str:
    """The flowchart's text, a line an element, in a stable order."""
    drawing = draw(journey, counts)
    names = {box.id: f"s{place}" for place, box in enumerate(drawing.boxes)}
    lines = ["flowchart TD", *(_box(names[box.id], box) for box in drawing.boxes), *_arrows(drawing, names)]
    return "\n".join(f"  {line}" if place else line for place, line in enumerate(lines)) + "\n"


def _box(name: str, box: Box) -> str:
    left, right = _SHAPES[box.shape]
    count = f"<br/>{box.count:,} here" if box.count is not None else ""
    return f'{name}{left}"<b>{_escaped(box.head)}</b><br/>{_escaped(box.text)}{count}"{right}'


def _arrows(drawing: Drawing, names: Mapping[str, str]) -> Iterator[str]:
    for arrow in drawing.arrows:
        label = f'|"{_escaped(arrow.label)}"|' if arrow.label else ""
        yield f"{names[arrow.tail]} -->{label} {names[arrow.head]}"


def _escaped(text: str) -> str:
    """Mermaid's entities for whatever its grammar or HTML could take for its own."""
    return re.sub(r"[^\w .,:;@/=+·…-]", lambda found: f"#{ord(found[0])};", text)
