from pathlib import Path

import pytest

from waypost.messaging.css_inlining import inline_css


def _inlined(source: str) -> str:
    return inline_css(source, field="html")


def test_html_without_style_is_left_alone() -> None:
    source = '<TABLE><tr><td>{% for %}<p>unclosed & "odd"'
    assert _inlined(source) == source


@pytest.mark.parametrize(
    ("body", "inlined"),
    [
        ('<p class="a">x</p>', '<p class="a" style="color: red;">x</p>'),
        ('<img class="a"/>', '<img class="a" style="color: red;" />'),
        (
            '<table>{% for i in data.l %}<tr><td class="a">{{ i }}</td></tr>{% endfor %}</table>',
            '<table>{% for i in data.l %}<tr><td class="a" style="color: red;">{{ i }}</td></tr>{% endfor %}</table>',
        ),
        (
            '<a class="a" href="{{ data.u | default: "https://x" }}?b=1&amp;c=2">x</a>',
            '<a class="a" href="{{ data.u | default: "https://x" }}?b=1&amp;c=2" style="color: red;">x</a>',
        ),
        (
            '<p {% if data.x %}id="{{ data.x }}"{% else %}id="y"{% endif %} class="a">x</p>',
            '<p {% if data.x %}id="{{ data.x }}"{% else %}id="y"{% endif %} class="a" style="color: red;">x</p>',
        ),
        (
            '<p class="a {{ data.kind }}">x</p>',
            '<p class="a {{ data.kind }}" style="color: red;">x</p>',
        ),
        (
            '<p class="a" style="width:{{ data.w }}px">x</p>',
            '<p class="a" style="color: red;width:{{ data.w }}px">x</p>',
        ),
        ("<p class=\"a\" style='color: blue'>x</p>", '<p class="a" style="color: blue">x</p>'),
        ('<p class="b">x</p>', '<p class="b" style="padding: {{ data.pad }}px;">x</p>'),
        (
            '{% if data.x %}<div class="a">{% else %}<div>{% endif %}x</div>',
            '{% if data.x %}<div class="a" style="color: red;">{% else %}<div>{% endif %}x</div>',
        ),
        ('<!--[if mso]><p class="a">x</p><![endif]-->', '<!--[if mso]><p class="a">x</p><![endif]-->'),
        ("{% raw %}<p>{{ literal }}{% endraw %}", "{% raw %}<p>{{ literal }}{% endraw %}"),
    ],
)
def test_styles_are_written_into_tags_and_nothing_else_changes(body: str, inlined: str) -> None:
    sheet = "<style>.a{color:red} .b{padding:{{ data.pad }}px} @media print{.a{color:blue}}</style>"
    assert _inlined(sheet + body).rstrip(";").replace("color: blue;", "color: blue") == sheet + inlined


def test_a_sheet_with_branches_is_left_to_clients_that_read_it() -> None:
    source = '<style>{% if data.dark %}.a{color:red}{% endif %}</style><p class="a">x</p>'
    assert _inlined(source) == source


def test_no_style_sheet_is_fetched_or_read_from_disk(tmp_path: Path) -> None:
    sheet = tmp_path / "local.css"
    sheet.write_text(".a{color:red}")
    for link in (sheet.as_uri(), str(sheet), "http://127.0.0.1:9/x.css"):
        source = f'<link rel="stylesheet" href="{link}"><style>@import "{link}";</style><p class="a">x</p>'
        assert _inlined(source) == source
