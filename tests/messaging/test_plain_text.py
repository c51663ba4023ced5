import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.messaging.rendering_setup import rendered
from waypost.messaging.content import EmailContent
from waypost.messaging.plain_text import html_to_text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>Hello<br>you &amp; me</p><p>Bye</p>", "Hello\nyou & me\n\nBye"),
        ('<a href="https://x.example.com/?a=1&amp;b=2">Pay</a>', "Pay (https://x.example.com/?a=1&b=2)"),
        ('<a href="https://x.example.com">https://x.example.com</a>', "https://x.example.com"),
        ('<a href="mailto:a@example.com">a@example.com</a>', "a@example.com"),
        ('<a href="#top">Top</a>', "Top"),
        ('<a href="https://x.example.com"><img alt="Shop" src="x"></a>', "Shop (https://x.example.com)"),
        ("<ul><li>one</li><li>two</li></ul>", "- one\n\n- two"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\n\nc"),
        ("<head><title>T</title><style>a{}</style></head><body>x<script>y</script></body>", "x"),
        ('<div style="display:none">hidden<div>too</div></div>seen', "seen"),
        ("<!--[if mso]>outlook<![endif]-->all", "all"),
        ("a < b &lt; c", "a < b < c"),
        ("&#123;&#123; not.liquid }}", "{ { not.liquid }}"),
        ("one\n   two\t three", "one two three"),
    ],
)
def test_html_becomes_readable_text(source: str, text: str) -> None:
    assert html_to_text(source) == text


def test_liquid_stays_where_it_was() -> None:
    source = (
        "<table>{% for i in data.l %}<tr><td>{{ i.n }}</td>"
        '<td><a href="{{ i.u }}">{{ i.t | default: "more > less" }}</a></td></tr>{% endfor %}</table>'
    )
    made = rendered(
        EmailContent(subject="s", html=source),
        l=[{"n": "A&B", "u": "https://a", "t": "x"}, {"n": "C", "u": "https://c", "t": ""}],
    )
    assert made.text == "A&B x (https://a)\n\nC more > less (https://c)"


def test_text_is_made_from_the_finished_html_where_the_template_hides_half_a_branch() -> None:
    source = '<div style="display:none">{% if data.x %}</div><p>yes</p>{% else %}</div><p>no</p>{% endif %}'
    assert rendered(EmailContent(subject="s", html=source), x=True).text == "yes"


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(source: str) -> None:
    assert isinstance(html_to_text(source), str)
