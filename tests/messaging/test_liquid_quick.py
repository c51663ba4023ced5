"""The quick path renders what python-liquid renders, or leaves it to it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.messaging.content_errors import RenderError
from waypost.messaging.liquid_dialect import compile_liquid
from waypost.messaging.liquid_slots import Pieces, take_apart

STATIC = "what all recipients of this letter read alike"
LOOP = "{% for item in contact.items %}<i>{{ item.name }}</i> {{ item.n }}, {% endfor %}"


def pieces(source: str, *, autoescape: bool = True) -> Pieces:
    return take_apart(compile_liquid(source, field="html", autoescape=autoescape))


def quickly(source: str, context: dict[str, Any], *, autoescape: bool = True) -> str | None:
    """What the quick path makes of it; None where it leaves it to python-liquid."""
    taken = pieces(source, autoescape=autoescape)
    if taken.quick is None or (regions := taken.quick.regions(context)) is None:
        return None
    return regions[0] + "".join(static + region for static, region in zip(taken.statics, regions[1:], strict=True))


def slowly(source: str, context: dict[str, Any], *, autoescape: bool = True) -> str | None:
    try:
        return compile_liquid(source, field="html", autoescape=autoescape).render(context)
    except RenderError:
        return None


names = st.one_of(st.text(max_size=12), st.sampled_from(["<b>", "a & b", "\r\n", '"', "{{ x }}", "\n"]))
values = st.one_of(
    names, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False), st.lists(names), st.just({})
)
items = st.lists(st.fixed_dictionaries({}, optional={"name": values, "n": values}), max_size=5)
contexts = st.fixed_dictionaries(
    {"contact": st.fixed_dictionaries({}, optional={"name": values, "items": st.one_of(items, values)})}
)
sources = st.lists(
    st.sampled_from([STATIC, "Hi ", "{{ contact.name }}", LOOP, "\n", "{{ contact.name | upcase }}", "{{ contact }}"]),
    min_size=1,
    max_size=6,
).map("".join)


@given(sources, contexts, st.booleans())
def test_what_is_rendered_quickly_is_what_python_liquid_renders(
    source: str, context: dict[str, Any], autoescape: bool
) -> None:
    found = quickly(source, context, autoescape=autoescape)
    assert found is None or found == slowly(source, context, autoescape=autoescape)


def test_a_plain_letter_takes_the_quick_path() -> None:
    context = {"contact": {"name": "Ann <3", "items": [{"name": "pear", "n": 2}, {"name": "fig", "n": 30}]}}
    source = f"Hi {{{{ contact.name }}}}, {STATIC} {LOOP}"
    assert quickly(source, context) == f"Hi Ann &lt;3, {STATIC} <i>pear</i> 2, <i>fig</i> 30, "
    assert quickly(source, context, autoescape=False) == f"Hi Ann <3, {STATIC} <i>pear</i> 2, <i>fig</i> 30, "


@pytest.mark.parametrize(
    "source",
    [
        "{{ contact.name | upcase }} {% for item in contact.items %}{{ item.name }}{% endfor %}",
        "{% if contact.name %}{{ contact.name }}{% endif %}",
        "{% assign who = contact.name %}{{ who }}",
        "{% for item in contact.items limit: 1 %}{{ item.name }}{% endfor %}",
        "{% for item in contact.items reversed %}{{ item.name }}{% endfor %}",
        "{% for item in contact.items %}{{ item.name }}{% else %}none{% endfor %}",
        "{% for item in contact.items %}{% for other in contact.items %}{{ other.name }}{% endfor %}{% endfor %}",
        "{% for item in contact.items %}{{ forloop.index }}{% endfor %}",
    ],
)
def test_more_than_the_plain_part_is_left_to_python_liquid(source: str) -> None:
    context = {"contact": {"name": "Ann", "items": [{"name": "pear"}]}}
    assert quickly(source, context) is None
    assert slowly(source, context) is not None


@pytest.mark.parametrize(
    "contact",
    [
        {},
        {"name": None},
        {"name": True},
        {"name": 1.5},
        {"name": 10**30},
        {"name": ["a"]},
        {"name": {"a": 1}},
        {"name": "x" * 501},
        {"name": "a\rb"},
    ],
)
def test_values_out_of_the_ordinary_are_left_to_python_liquid(contact: dict[str, Any]) -> None:
    assert quickly("Hi {{ contact.name }}", {"contact": contact}) is None


def test_work_past_a_tenth_of_the_budget_is_left_to_python_liquid() -> None:
    body = "{{ item.name }}" + "-" * 4_000
    source = f"{{% for item in contact.items %}}{body}{{% endfor %}}"
    few, many = ([{"name": "a"}] * count for count in (10, 300))
    assert quickly(source, {"contact": {"items": few}}) is not None
    assert quickly(source, {"contact": {"items": many}}) is None


def test_a_loop_longer_than_python_liquid_allows_is_left_to_it() -> None:
    source = "{% for number in contact.numbers %}{{ number }}{% endfor %}"
    context = {"contact": {"numbers": [1] * 10_001}}
    assert quickly(source, context) is None
    assert slowly(source, context) is None
