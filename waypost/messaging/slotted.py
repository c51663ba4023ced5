"""An email's content in slots: what all recipients share once, and each one's own values (`SlottedContent`).

For bulk calls that take a template and values: the shared text is compiled, sent and kept once, and what a recipient
costs is what differs. Putting the values in gives exactly what `rendering.render` does.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypost.messaging.liquid_slots import Pieces, take_apart
from waypost.messaging.plain_text import html_to_text, strip_blank_lines
from waypost.messaging.provider import SharedContent, SlottedContent
from waypost.messaging.rendering import CONTROL, Extent, check_email, choose_locale, one_line
from waypost.messaging.templating import CompiledContent, CompiledTemplate
from waypost.messaging.values import Channel

_UNSAFE = re.compile(r"\A[{}\\]+|[{}\\]{2,}|[{}\\]+\Z")
"""What a reader of `{{name}}` could take for more than text, within a static text or at the border of a slot."""


class _Literals:
    """Static text that must not be read as part of a template: a slot that holds the same for everybody."""

    def __init__(self) -> None:
        self.slots: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def protect(self, text: str) -> str:
        """The text with a slot for everything unsafe in it."""
        return _UNSAFE.sub(lambda found: f"{{{{{self._name(found[0])}}}}}", text)

    def _name(self, text: str) -> str:
        if text not in self._names:
            self._names[text] = name = f"c{len(self._names)}"
            self.slots[name] = text
        return self._names[text]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """HTML or text. `before` and `after`: white space of a region's neighbours, which is tidied together with it."""

    pieces: Pieces
    names: tuple[str | None, ...]
    statics: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    tidied: bool
    length: int

    @classmethod
    def of(cls, pieces: Pieces, prefix: str, *, tidied: bool) -> "_Part":
        statics = [CONTROL.sub("", static) for static in pieces.statics]
        before, after = [""] * len(pieces.prints), [""] * len(pieces.prints)
        if tidied:
            for number, static in enumerate(statics):
                core = static.strip()
                start = static.index(core)
                after[number], before[number + 1] = static[:start], static[start + len(core) :]
                statics[number] = strip_blank_lines(core)
        names = tuple(f"{prefix}{number}" if prints else None for number, prints in enumerate(pieces.prints))
        return cls(
            pieces=pieces,
            names=names,
            statics=tuple(statics),
            before=tuple(before),
            after=tuple(after),
            tidied=tidied,
            length=sum(map(len, statics)),
        )

    def shared(self, literals: _Literals) -> str:
        """The shared text."""
        slots = ["" if name is None else f"{{{{{name}}}}}" for name in self.names]
        statics = [*(literals.protect(static) for static in self.statics), ""]
        return "".join(slot + static for slot, static in zip(slots, statics, strict=True))

    def regions(self, context: Mapping[str, object]) -> list[str]:
        """One recipient's regions, ready."""
        regions = self.pieces.regions(context)
        if CONTROL.search("".join(regions)):
            regions = [CONTROL.sub("", region) for region in regions]
        return self._tidied(regions) if self.tidied else regions

    def _tidied(self, regions: list[str]) -> list[str]:
        # A static text begins and ends with what is no white space: what is tidied never reaches beyond one region.
        found = [
            strip_blank_lines(before + region + after)
            for before, region, after in zip(self.before, regions, self.after, strict=True)
        ]
        found[0] = found[0].lstrip()
        found[-1] = found[-1].rstrip()
        return found

    def whole(self, regions: list[str]) -> str:
        """Regions and static texts together."""
        return "".join(region + static for region, static in zip(regions, (*self.statics, ""), strict=True))

    def extent(self, regions: list[str]) -> Extent:
        """How long the whole is, and whether it is blank."""
        blank = all(static.isspace() for static in self.statics if static) and not any(map(str.strip, regions))
        return Extent(length=self.length + sum(map(len, regions)), blank=blank)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlottedTemplate:
    """One language of a compiled email, ready to render into slots. Immutable; make it once a version and language."""

    locale: str
    text_is_derived: bool
    _line: Pieces | None
    _shared: SharedContent
    _literals: Mapping[str, str]
    _subject: str | None
    _html: _Part | None
    _text: _Part | None

    @classmethod
    def of(cls, template: CompiledTemplate, locale: str | None) -> "SlottedTemplate":
        """The template in the language that a recipient of `locale` gets. Raises `ValueError` if it is no email."""
        if template.channel is not Channel.EMAIL:
            raise ValueError("only emails are sent in slots")
        chosen = choose_locale(template, locale)
        content = template.locales[chosen]
        literals = _Literals()
        subject = _constant_subject(content)
        html = _Part.of(take_apart(content.html), "h", tidied=False) if content.html else None
        text = _Part.of(take_apart(content.text), "t", tidied=content.text_is_derived) if content.text else None
        shared = SharedContent(
            subject="{{s}}" if subject is None else literals.protect(subject),
            html=html.shared(literals) if html else None,
            text=text.shared(literals) if text else "{{t}}",
        )
        return cls(
            locale=chosen,
            text_is_derived=content.text_is_derived,
            _line=take_apart(content.subject) if content.subject else None,
            _shared=shared,
            _literals=literals.slots,
            _subject=subject,
            _html=html,
            _text=text,
        )

    def render(self, context: Mapping[str, Any]) -> SlottedContent:
        """One message's content. `context` is made by `template_context`. Raises `RenderError`, as `render` does."""
        slots = dict(self._literals)
        subject = self._subject
        if subject is None:
            assert self._line is not None
            slots["s"] = subject = one_line(self._line.text(context))
        html: Extent | None = None
        regions: list[str] = []
        if self._html is not None:
            regions = self._html.regions(context)
            html = self._html.extent(regions)
            _put(slots, self._html, regions)
        text = self._render_text(context, regions, slots)
        check_email(self.locale, subject=subject, html=html, text=text)
        return SlottedContent(shared=self._shared, slots=slots)

    def _render_text(self, context: Mapping[str, Any], html: list[str], slots: dict[str, str]) -> Extent:
        if self._text is None:
            text = slots["t"] = html_to_text(self._html.whole(html) if self._html else "")
            return Extent.of(text)
        regions = self._text.regions(context)
        _put(slots, self._text, regions)
        return self._text.extent(regions)


def _put(slots: dict[str, str], part: _Part, regions: list[str]) -> None:
    for name, region in zip(part.names, regions, strict=True):
        if name is not None:
            slots[name] = region


def _constant_subject(content: CompiledContent) -> str | None:
    """The subject where it is the same for everybody."""
    if content.subject is None:
        return ""
    return one_line(content.subject.constant) if content.subject.constant is not None else None
