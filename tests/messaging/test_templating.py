import pytest

from tests.messaging.rendering_setup import html, rendered, sms, subject
from waypost.messaging.content import EmailContent, EmailTemplate, SmsContent, one_locale
from waypost.messaging.content_errors import MarkupError, RenderError, TemplateSyntaxError, UndefinedVariableError
from waypost.messaging.liquid_dialect import MAX_LIQUID_TAG, MAX_LIQUID_TAGS
from waypost.messaging.templating import TemplateCache, check_template, compile_template, content_hash, variables
from waypost.messaging.values import Channel


def _syntax_error(source: str) -> TemplateSyntaxError:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile_template(one_locale(EmailContent(subject="s", html=source)))
    return caught.value


def test_an_unknown_variable_is_named_with_its_line_and_what_to_write_instead() -> None:
    error = _syntax_error("<p>\n\n{{ first_name | upcase }}</p>")
    assert (error.field, error.line, error.variable) == ("locales.en.html", 3, "first_name")
    assert "contact.attributes.first_name" in (error.hint or "")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("a\n{% include 'x' %}", 2),
        ("{% render 'x' %}", 1),
        ("a\nb\n{{ data.x | nope }}", 3),
        ("a\n{% if data.x %}\nb", 2),
        ("a\n{% for i in data.x %}{% if i %}{% endif %}\n", 2),
        ("a\n{{ data.x", 2),
        ("a {% endif %}", 1),
        ("{% raw %}", None),
        ("a\n{% endraw %}", 2),
        ("{{ data.x | }}", 1),
        ("{% assign = 1 %}", 1),
        ("{% tablerow i in data.x %}{% endtablerow %}", 1),
        ("a\n{{ data.x" + " | upcase" * MAX_LIQUID_TAG + " }}", 2),
        ("{{ 1 }}" * (MAX_LIQUID_TAGS + 1), None),
    ],
)
def test_liquid_that_does_not_parse_names_its_line(source: str, line: int | None) -> None:
    assert _syntax_error(source).line == line


def test_the_field_of_an_error_is_a_path_into_the_template() -> None:
    template = EmailTemplate(
        channel=Channel.EMAIL,
        default_locale="en",
        locales={
            "en": EmailContent(subject="s", text="t"),
            "de": EmailContent(subject="s {{ nope }}", text="t"),
        },
    )
    error = check_template(template)
    assert error is not None
    assert error.field == "locales.de.subject"
    assert check_template(one_locale(SmsContent(body="ok"))) is None


def test_variables_are_those_of_all_languages_and_parts_without_locals() -> None:
    template = EmailTemplate(
        channel=Channel.EMAIL,
        default_locale="en",
        locales={
            "en": EmailContent(
                subject="{{ contact.first_name }} {{ 'now' | date: '%Y' }}",
                html="{% assign n = data.order.id %}{{ n }}{% for i in data.items %}{{ i.name }}{% endfor %}",
            ),
            "de": EmailContent(subject="{{ tenant.name }}", text="{{ data.list[0].x }}"),
        },
    )
    assert variables(template) == {"contact.first_name", "data.order.id", "data.items", "tenant.name", "data.list"}


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("{{ data.x | default: 'none' }}", "none"),
        ("{{ data.x.y.z | default: 'none' }}", "none"),
        ("{% if data.x %}yes{% else %}no{% endif %}", "no"),
        ("{% if data.x == 'a' %}yes{% else %}no{% endif %}", "no"),
        ("{% unless data.x %}no{% endunless %}", "no"),
        ("{{ contact.attributes.first_name }}{{ contact.first_name }}", "AnnAnn"),
        ("{% case contact.vip %}{% when true %}VIP{% endcase %}", "VIP"),
        ("{{ 'now' | date: '%d %b %Y' }} {{ now | date: '%H:%M' }}", "29 Mar 2026 12:30"),
        ("{{ 0 | date: '%Y-%m-%d %H' }}", "1970-01-01 00"),
        ("{{ '2026-02-03' | date: '%d.%m.' }}", "03.02."),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("{% comment %}{{ x }}{% endcomment %}ok", "ok"),
        ("{{ '<b>hi</b> <i>you</i>' | strip_html }}", "hi you"),
        ("{{ 'a,b' | split: ',' | join: '-' }}", "a-b"),
        ("{% for i in (1..3) %}{{ i }}{% endfor %}", "123"),
    ],
)
def test_liquid_does_what_its_users_know(source: str, shown: str) -> None:
    assert sms(source) == shown


@pytest.mark.parametrize(
    ("source", "variable"),
    [
        ("\n{{ data.x }}", "data.x"),
        ("\n{{ data.x | upcase }}", "data.x"),
        ("\n{% for i in data.x %}{% endfor %}", "data.x"),
        ("\n{{ data.order.id }}", "data.order.id"),
    ],
)
def test_a_variable_without_value_or_default_fails_the_message_and_is_named(source: str, variable: str) -> None:
    with pytest.raises(UndefinedVariableError) as caught:
        sms(source, order={})
    assert (caught.value.variable, caught.value.line) == (variable, 2)


@pytest.mark.parametrize(
    "source",
    [
        *("{{ data }}", "{{ data.rows }}", "{{ data.rows | join }}", "{{ data.o | upcase }}", "{{ data.rows | sort }}"),
        *("{{ data.t | divided_by: 0 }}", "{{ data.t | date: '%0999999999d' }}", "{{ data.t | slice: data.t }}"),
    ],
)
def test_a_value_that_cannot_be_shown_fails_the_message_and_is_not_repeated(source: str) -> None:
    canary = "canary-7Hq2"
    with pytest.raises(RenderError) as caught:
        sms(source, rows=[{"a": canary}, {"a": canary}], o={"a": canary}, t=canary)
    assert canary not in f"{caught.value}{vars(caught.value)}{caught.value.__cause__}"


def test_html_escapes_values_and_plain_text_does_not() -> None:
    assert html("<p>{{ data.x }}</p>", x="<b>&'\"") == "<p>&lt;b&gt;&amp;&#39;&#34;</p>"
    assert subject("{{ data.x }} {{ data.x | escape }}", x="A & B") == "A & B A & B"
    assert html("{{ data.x | safe }}", x="<b>") == "<b>"
    assert html("{{ data.x | newline_to_br }}", x="<\n") == "&lt;<br />\n"


def test_mjml_is_compiled_with_loops_between_and_inside_its_elements() -> None:
    source = """<mjml><mj-head><mj-title>{{ tenant.name }}</mj-title></mj-head><mj-body>
      {% for s in data.sections %}<mj-section><mj-column>
        <mj-text>Hi {{ s.name | default: "a > b" }}</mj-text>
        {% if s.url %}<mj-button href="{{ s.url }}?a=1&amp;b={{ s.name | url_encode }}">Go</mj-button>{% endif %}
        <mj-table>{% for row in s.rows %}<tr><td>{{ row }}</td></tr>{% endfor %}</mj-table>
      </mj-column></mj-section>{% endfor %}
    </mj-body></mjml>"""
    made = rendered(
        EmailContent(subject="s", mjml=source),
        sections=[
            {"name": "A & B", "url": "https://x.example.com/", "rows": ["r1", "r2"]},
            {"name": "", "url": None, "rows": []},
        ],
    )
    page = made.html or ""
    assert page.count("Hi A &amp; B") == 1
    assert page.count("Hi a > b") == 1
    assert "https://x.example.com/?a=1&amp;b=A+%26+B" in page
    assert "<tr><td>r1</td></tr><tr><td>r2</td></tr>" in page
    assert "{" not in page.split("<body", 1)[1]
    assert "Go (https://x.example.com/?a=1&b=A+%26+B)" in made.text


def test_mjml_inlines_the_sheets_that_ask_for_it_and_no_other() -> None:
    source = """<mjml><mj-head>
      <mj-style inline="inline">.a { color: {{ data.colour }} }</mj-style><mj-style>.b { color: blue }</mj-style>
    </mj-head><mj-body><mj-raw><b class="a b">x</b></mj-raw></mj-body></mjml>"""
    page = rendered(EmailContent(subject="s", mjml=source), colour="red").html or ""
    assert '<b class="a b" style="color: red;">x</b>' in page


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("<mjml>\n<mj-body>\n<mj-include path='/etc/passwd'/></mj-body></mjml>", 3),
        ("<mjml><mj-body><mj-section></mj-body></mjml>", None),
        ("<mjml>\n<mj-head>{{ data.x }}</mj-head><mj-body></mj-body></mjml>", 2),
        ("not mjml", None),
        ("<mjml><mj-body><mj-raw>" + "<div>" * 2_000 + "</mj-raw></mj-body></mjml>", 1),
    ],
)
def test_mjml_that_does_not_compile_or_would_lose_liquid_is_refused(source: str, line: int | None) -> None:
    with pytest.raises(MarkupError) as caught:
        compile_template(one_locale(EmailContent(subject="s", mjml=source)))
    assert (caught.value.field, caught.value.line) == ("locales.en.mjml", line)
    assert "passwd" not in str(caught.value)


def test_a_template_is_compiled_once_while_the_cache_has_room() -> None:
    cache = TemplateCache(max_templates=2, max_characters=10_000)
    one, two, three = (one_locale(SmsContent(body=f"{number} {{{{ data.x }}}}")) for number in range(3))
    assert cache.get(one) is cache.get(one.model_copy())
    first = cache.get(one)
    cache.get(two)
    cache.get(one)
    cache.get(three)
    assert cache.get(one) is first
    assert cache.get(one_locale(SmsContent(body="x" * 9_990))) is not None
    assert cache.get(one) is not first
    assert content_hash(one) != content_hash(two)
