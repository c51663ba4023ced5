"""HTML and MJML with Liquid in it: setting the Liquid aside while other tools work on the markup.

Each `{{ … }}` and `{% … %}` becomes one word that is a valid identifier in text, attributes, CSS and MJML, so that no
parser can misread it, and is put back afterwards.
"""

import re
from dataclasses import dataclass

_LIQUID = re.compile(r"\{%-?\s*+raw\s*+-?%\}.*?\{%-?\s*+endraw\s*+-?%\}|\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ProtectedSource:
    """Markup whose Liquid is replaced by words. `pieces[n]` stands where the word of number n is."""

    text: str
    pieces: tuple[str, ...]
    word: re.Pattern[str]

    def restore(self, text: str) -> str:
        """Put the Liquid back into a text made from `text`."""
        return self.word.sub(lambda found: self.pieces[int(found[1])], text)

    def is_tag(self, number: int) -> bool:
        """Whether a piece is a tag (`{% … %}`), which prints nothing itself."""
        return self.pieces[number].startswith("{%")

    def lost_in(self, text: str) -> int | None:
        """The first piece that a text no longer has, if any."""
        kept = {int(found[1]) for found in self.word.finditer(text)}
        return next((number for number in range(len(self.pieces)) if number not in kept), None)

    def line_of(self, number: int) -> int:
        """The line in the original source, from 1, of a piece."""
        found = re.search(f"{re.escape(self.prefix)}{number}q", self.text)
        return self.line_at(found.start() if found else 0)

    def line_at(self, index: int) -> int:
        """The line in the original source, from 1, of an index into `text`."""
        return self.restore(self.text[:index]).count("\n") + 1

    @property
    def prefix(self) -> str:
        """What every word starts with."""
        return self.word.pattern.partition("(")[0]


def protect(source: str) -> ProtectedSource:
    """Set the Liquid of a source aside. The source must have compiled as Liquid before."""
    prefix = "lq"
    while prefix in source.lower():
        prefix += "x"
    pieces: list[str] = []

    def take(found: re.Match[str]) -> str:
        pieces.append(found[0])
        return f"{prefix}{len(pieces) - 1}q"

    text = _LIQUID.sub(take, source)
    return ProtectedSource(text=text, pieces=tuple(pieces), word=re.compile(rf"{prefix}(\d+)q"))
