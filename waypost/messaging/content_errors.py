"""What can be wrong with content, addresses and headers, drawn as a tree.

    ContentError
    ├── AddressError             an address, time zone or locale that is none
    ├── HeaderError              an own header that is malformed or ours
    ├── AttachmentError          a file that may not be attached
    ├── LabelError               a tag, metadata or data that breaks its bound
    ├── TemplateError            found when a template is compiled
    │   ├── TemplateSyntaxError
    │   └── MarkupError          MJML that does not compile
    └── RenderError              found when one message is rendered
        ├── UndefinedVariableError
        ├── RenderLimitError
        └── RenderedContentError the result may not be sent (empty body, line break in the subject, too long)

Messages are our own sentences and never repeat a value: they may travel where personal data must not.
"""

from typing import ClassVar

from pydantic_core import PydanticCustomError


class ContentError(Exception):
    """Something in the content must change. The message is a sentence; the facts are attributes.

    `field` is a dotted path (`locales.de.subject`), `line` counts from 1 within that field, `variable` is a dotted
    path in the template, `bound` the limit that was passed (in the unit the message names).
    """

    code: ClassVar[str] = "invalid_content"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        line: int | None = None,
        variable: str | None = None,
        bound: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.line = line
        self.variable = variable
        self.bound = bound
        self.hint = hint

    def as_pydantic(self) -> PydanticCustomError:
        """The same error for a pydantic validator, so that the request's location is kept."""
        # The message has no braces of ours to fill: pydantic formats the template with the context.
        return PydanticCustomError(self.code, "{message}", {"message": self.message, "hint": self.hint})


class AddressError(ContentError):
    """An email address, phone number, time zone or locale that is none."""

    code = "invalid_address"


class HeaderError(ContentError):
    """An own header that is malformed, too long or reserved."""

    code = "invalid_header"


class AttachmentError(ContentError):
    """A file that may not be attached."""

    code = "invalid_attachment"


class LabelError(ContentError):
    """A tag, metadata or data that breaks its bound."""

    code = "invalid_label"


class TemplateError(ContentError):
    """The template cannot be compiled."""

    code = "invalid_template"


class TemplateSyntaxError(TemplateError):
    """Liquid that does not parse, or uses what is not offered here."""

    code = "template_syntax"


class MarkupError(TemplateError):
    """MJML that does not compile."""

    code = "invalid_mjml"


class RenderError(ContentError):
    """One message cannot be rendered with its data."""

    code = "render_failed"


class UndefinedVariableError(RenderError):
    """A variable has no value and no `default` filter."""

    code = "undefined_variable"


class RenderLimitError(RenderError):
    """Loops, values or output passed a limit."""

    code = "render_limit"


class RenderedContentError(RenderError):
    """What came out may not be sent."""

    code = "unsendable_content"
