"""Content in slots: putting the values in gives, byte for byte, what rendering the whole does."""

import re
import time
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.messaging.rendering_setup import context
from waypost.messaging.content import EmailContent, EmailTemplate, SmsContent, one_locale
from waypost.messaging.content_errors import RenderedContentError, RenderError, TemplateError, UndefinedVariableError
from waypost.messaging.provider import RenderedMessage, SlottedContent
from waypost.messaging.rendering import render
from waypost.messaging.slotted import SlottedTemplate
from waypost.messaging.templating import compile_template
from waypost.messaging.values import Channel

FILLER = "<p>Words that stand in every recipient's copy, enough of them to be kept apart.</p>"
PLACEHOLDER = re.compile(r"\{\{([a-z][a-z0-9]*)\}\}")


def put_together(made: SlottedContent) -> tuple[str, str | None, str]:
    message = RenderedMessage(
        attempt_id=uuid4(), channel=Channel.EMAIL, to="a@x.example", from_address="b@x.example", slotted=made
    )
    whole = message.whole()
    return whole.subject, whole.html, whole.text


def both_ways(content: EmailContent, **data: Any) -> None:
    """Render whole and in slots: the same content, or the same error."""
    compiled = compile_template(one_locale(content))
    slotted = SlottedTemplate.of(compiled, None)
    try:
        expected = render(compiled, None, context(**data))
    except RenderError as error:
        with pytest.raises(type(error), match=re.escape(str(error))):
            slotted.render(context(**data))
        return
    assert put_together(slotted.render(context(**data))) == (expected.subject, expected.html, expected.text)


PIECES = st.sampled_from(
    [
        FILLER,
        FILLER,
        "<style>@media (max-width:600px){.a{width:100%}}</style> and more text to be long enough",
        "{% raw %}{{ not a slot }} nor {{#this}} and it goes on for a while{% endraw %}",
        "some text that ends in a brace {",
        "} and text that begins with one, long enough to be kept",
        "backslash at the very end of a longer text \\",
        "\r\nline breaks\r\rof every\n\n \n\nkind, and text to be long enough\r",
        "\n\n  \n",
        " ",
        "\u00a0\u2003 wide spaces around a text of some length \u00a0",
        "{{ data.a }}",
        "{{ data.b }}",
        "{{ data.a | upcase }}",
        "{{- data.b -}}",
        "{% assign x = data.a %}",
        "{{ x | default: data.b }}",
        "{% capture y %}" + FILLER + "{{ data.a }}{% endcapture %}",
        "{{ y | default: 'none' }}",
        "{% for item in data.items %}<li>{{ item }} {{ forloop.index }}</li>\n\n\n{% endfor %}",
        "{% if data.flag %}" + FILLER + "{% else %}\n\n{{ data.b }}{% endif %}",
        "{% comment %}nothing{% endcomment %}",
        "{% increment n %}",
        "<a href='https://x.example/{{ data.a }}'>link</a>",
    ]
)
VALUES = st.lists(
    st.sampled_from([*"ab &<>'\"{}\\ \n\r\t", "\x00", "\x0b", "\u2028", "\u00a0", "é", "😀", "{{h0}}", "}}"]),
    max_size=8,
).map("".join)


@given(
    pieces=st.lists(PIECES, max_size=9),
    text=st.lists(PIECES, max_size=5) | st.none(),
    subject=st.sampled_from(
        ["News", "Hi {{ data.a }}", "{{ data.a }} \u00a0 {{ data.b }}", "{% raw %}{{x}}{% endraw %}"]
    ),
    a=VALUES,
    b=VALUES,
    items=st.lists(VALUES, max_size=3),
    flag=st.booleans(),
)
def test_values_put_into_what_is_shared_give_what_rendering_gives(
    pieces: list[str], text: list[str] | None, subject: str, a: str, b: str, items: list[str], *, flag: bool
) -> None:
    try:
        content = EmailContent(subject=subject, html="<p>x</p>" + "".join(pieces), text="".join(text) if text else None)
        compile_template(one_locale(content))
    except (TemplateError, ValueError):
        return
    both_ways(content, a=a, b=b, items=items, flag=flag)


def test_what_is_shared_holds_nothing_but_text_and_slots() -> None:
    html = (
        FILLER
        + "<style>@media x{.a{b:c}}</style>{{ data.a }}{% raw %}{{#if x}}{% endraw %}"
        + FILLER
        + "\\{{ data.b }}"
    )
    made = SlottedTemplate.of(compile_template(one_locale(EmailContent(subject="s", html=html))), None)
    content = made.render(context(a="{{c0}}", b="}}"))
    assert content.shared.html is not None
    # Each text between two slots: nothing doubled in it, nothing at its ends that could join a slot's braces.
    for text in PLACEHOLDER.split(content.shared.html)[::2]:
        assert not re.search(r"\A[{}\\]|[{}\\]{2}|[{}\\]\Z", text)
    assert "{{c0}}" in (put_together(content)[1] or "")


def test_what_all_share_is_the_same_object_and_long_text_is_in_it() -> None:
    template = SlottedTemplate.of(
        compile_template(
            one_locale(EmailContent(subject="Hi {{ data.a }}", html=FILLER * 50 + "{{ data.a }}" + FILLER * 50))
        ),
        None,
    )
    first, second = template.render(context(a="Ann")), template.render(context(a="Bo"))
    assert first.shared is second.shared
    assert sum(map(len, first.slots.values())) < 50
    assert (first.slots["s"], second.slots["s"]) == ("Hi Ann", "Hi Bo")


def test_a_html_that_hides_half_of_a_loop_from_its_text_gets_its_text_from_each_html() -> None:
    html = FILLER + "{% for i in data.items %}<p>{{ i }}</p><div style='display:none'>{% endfor %}</div>"
    both_ways(EmailContent(subject="s", html=html), items=["a", "b"])


def test_an_email_of_text_alone_has_no_html() -> None:
    compiled = compile_template(one_locale(EmailContent(subject="s", text="Hello {{ data.a }}")))
    made = SlottedTemplate.of(compiled, None).render(context(a="Ann"))
    assert (made.shared.html, put_together(made)) == (None, ("s", None, "Hello Ann"))


@pytest.mark.parametrize(
    ("content", "data"),
    [
        (EmailContent(subject="{{ data.a }}", html=FILLER), {"a": " "}),
        (EmailContent(subject="s", html="{{ data.a }}"), {"a": " "}),
        (EmailContent(subject="s", html="{{ data.a }}", text="t"), {"a": ""}),
        (EmailContent(subject="{{ data.a }}", html=FILLER), {"a": "x" * 999}),
        (EmailContent(subject="s", html=FILLER + "{{ data.a }}", text="{{ data.b }}"), {"a": "", "b": "x" * 500_001}),
        (EmailContent(subject="s", html=FILLER + "{{ data.nobody }}"), {}),
    ],
)
def test_what_may_not_be_sent_whole_may_not_be_sent_in_slots(content: EmailContent, data: dict[str, Any]) -> None:
    with pytest.raises((RenderedContentError, UndefinedVariableError)):
        render(compile_template(one_locale(content)), None, context(**data))
    both_ways(content, **data)


def test_output_is_bounded_as_if_the_static_text_had_been_written() -> None:
    long = "x" * 990_000
    both_ways(EmailContent(subject="s", html=long + "{% for i in (1..3) %}{{ data.a }}{% endfor %}"), a="y" * 400_000)


def test_each_language_is_a_template_of_its_own_and_sms_has_none() -> None:
    compiled = compile_template(
        EmailTemplate(
            channel=Channel.EMAIL,
            default_locale="en",
            locales={
                "en": EmailContent(subject="Hello", html=FILLER),
                "de": EmailContent(subject="Hallo", html=FILLER),
            },
        )
    )
    assert SlottedTemplate.of(compiled, "de-AT").render(context()).shared.subject == "Hallo"
    assert SlottedTemplate.of(compiled, None).locale == "en"
    with pytest.raises(ValueError, match="only emails"):
        SlottedTemplate.of(compile_template(one_locale(SmsContent(body="x"))), None)


def test_a_recipient_costs_what_differs_and_not_what_is_shared() -> None:
    def seconds(filler: int) -> float:
        html = (FILLER * filler + "{{ data.a }}") * 5
        made = SlottedTemplate.of(compile_template(one_locale(EmailContent(subject="s", html=html))), None)
        ctx, started = context(a="Ann"), time.process_time()
        for _ in range(200):
            made.render(ctx)
        return time.process_time() - started

    assert seconds(200) < 3 * seconds(2)
