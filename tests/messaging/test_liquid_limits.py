"""Templates that try to take all time or memory. Each must end soon, and small."""

import time
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest

from tests.messaging.rendering_setup import context
from waypost.messaging.content import EmailContent, one_locale
from waypost.messaging.content_errors import ContentError, RenderLimitError, TemplateError
from waypost.messaging.liquid_dialect import compile_liquid
from waypost.messaging.liquid_limits import MAX_LOOP_ITERATIONS
from waypost.messaging.templating import compile_template

_DATA: dict[str, Any] = {
    "s": "a" * 60_000,
    "rows": [{"n": str(row), "k": "x" * 20} for row in range(1_000)],
    "n": 10**9,
}

_BOMBS = {
    "range joined": "{{ (1..100000000) | join: ',' }}",
    "range of data": "{{ (1..data.n) | join }}",
    "range assigned": "{% assign r = (1..100000000) %}{{ r | reverse | size }}",
    "range looped": "{% for i in (1..100000000) %}x{% endfor %}",
    "range reversed": "{% for i in (1..100000000) reversed %}x{% endfor %}",
    "range past 64 bits": "{% for i in (1..99999999999999999999999999) %}x{% endfor %}",
    "range in cycle": "{% cycle (1..9999999), 'b' %}",
    "range in case": "{% case 1 %}{% when (1..9999999) %}x{% endcase %}",
    "range in a condition": "{% if (1..9999999) contains 1 %}x{% endif %}",
    "range as an argument": "{{ 'a' | append: (1..9999999) }}",
    "nested loops": "{% for i in (1..1000) %}{% for j in (1..1000) %}x{% endfor %}{% endfor %}",
    "loops in a row": "{% for i in (1..10000) %}{% endfor %}" * 2_000,
    "a wide loop body": "{% for i in (1..10000) %}" + "{% if true %}{% endif %}" * 2_400 + "{% endfor %}",
    "doubled text": "{% assign s = data.s %}" + "{% assign s = s | append: s %}" * 60,
    "doubled capture": "{% assign c = data.s %}" + "{% capture c %}{{ c }}{{ c }}{% endcapture %}" * 60,
    "doubled list": "{% assign a = data.s | split: 'b' %}" + "{% assign a = a | concat: a %}" * 40 + "{{ a | join }}",
    "replaced text": "{{ data.s | replace: 'a', data.s | size }}",
    "replaced nothing": "{{ data.s | replace: '', data.s | size }}",
    "joined by long text": "{% assign a = data.rows | map: 'n' %}{{ a | join: data.s | size }}",
    "split to characters": "{{ data.s | split: '' | size }}",
    "squared numbers": "{% assign x = 99999999999 %}" + "{% assign x = x | times: x %}" * 30,
    "output": "{% for i in (1..10000) %}{{ data.s }}{% endfor %}",
    "many locals": "".join(f"{{% assign v{number} = 1 %}}" for number in range(4_900)),
    "sorting": "{{ data.rows | sort: 'n' | size }}" * 4_900,
    "uniq": "{{ data.rows | uniq | size }}" * 1_000,
    "contains": "{% assign t = data.s | append: 'b' %}" + "{% if data.s contains t %}{% endif %}" * 2_400,
}

_HEAVY = {
    "captures": "{% capture c %}{{ data.s }}{% endcapture %}" * 1_600,
    "chained filters": "{{ data.s" + " | upcase | downcase" * 240 + " | size }}",
    "strip_html": "{% assign l = data.s | replace: 'a', '<!--' %}" + "{{ l | strip_html | size }}" * 100,
}


def _run(source: str) -> None:
    text = compile_liquid(source, field="html", autoescape=True)
    text.render(context(**_DATA))


@pytest.mark.parametrize("source", _BOMBS.values(), ids=_BOMBS.keys())
def test_a_liquid_bomb_ends_within_a_second(source: str) -> None:
    text = compile_liquid(source, field="html", autoescape=True)
    began = time.process_time()
    with pytest.raises(RenderLimitError):
        text.render(context(**_DATA))
    assert time.process_time() - began < 1


@pytest.mark.parametrize("source", _HEAVY.values(), ids=_HEAVY.keys())
def test_the_heaviest_that_is_let_through_ends_within_a_second(source: str) -> None:
    text = compile_liquid(source, field="html", autoescape=True)
    began = time.process_time()
    text.render(context(**_DATA))
    assert time.process_time() - began < 1


@pytest.mark.parametrize("name", ["range joined", "doubled list", "replaced text", "joined by long text", "output"])
def test_a_liquid_bomb_stays_small(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RenderLimitError):
            _run(_BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "source",
    [
        "{% raw %}" * 4_000,
        "{% comment %}" + "{{" * 4_000,
        "{% comment %}" + "{% raw %}" * 4_000,
        "{{" * 400_000,
        "{{ data" + "[data" * 800 + "]" * 800 + " }}",
        "{% if true %}" * 2_000 + "{% endif %}" * 2_000,
        "{% if data.n == 1" + " or data.n == 2" * 20_000 + " %}x{% endif %}",
    ],
    ids=["raw", "comment", "raw in comment", "braces", "brackets", "nesting", "or"],
)
def test_a_source_made_to_slow_the_parser_is_refused_within_a_second(source: str) -> None:
    began = time.process_time()
    with pytest.raises(TemplateError):
        compile_liquid(source, field="html", autoescape=True)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "source",
    [
        "<style>a{color:red}</style>" + "<div>" * 20_000,
        "<style>a{color:red}</style>" + "<div><svg></div></svg>" * 20_000,
        "<style>a{color:red}</style>" + "<table><tr><td>" * 3_000,
        "<style>a{}</style>" + "".join(f"<b x={n}>" for n in range(99)) + "<p>" * 100_000,
        "<style>" + "a b{color:red}" * 5_000 + "</style>" + "<a><b>x</b></a>" * 5_000,
    ],
    ids=["divs", "foreign elements", "tables", "formatting", "rules"],
)
def test_markup_that_would_end_the_process_is_refused(source: str) -> None:
    with pytest.raises(TemplateError):
        compile_template(one_locale(EmailContent(subject="s", html=source)))


@pytest.mark.parametrize("unit", ["<!--", "<!", "</", "<?", "<![CDATA[", "<a ", "<a b='", "<style>", "&#", "<"])
def test_unclosed_markup_is_read_in_linear_time(unit: str) -> None:
    began = time.process_time()
    with suppress(ContentError):
        compile_template(one_locale(EmailContent(subject="s", html=unit * (200_000 // len(unit)))))
    assert time.process_time() - began < 2


def test_a_loop_may_run_as_many_rounds_as_the_bound() -> None:
    _run(f"{{% for i in (1..{MAX_LOOP_ITERATIONS}) %}}x{{% endfor %}}")
    _run("<table>{% for r in data.rows %}<tr><td>{{ r.n }}</td><td>{{ r.k | upcase }}</td></tr>{% endfor %}</table>")
