"""What every arm of the campaign bench sends: over 10 KB of HTML with five variables, a loop, unsubscribe headers.

Once in Waypost's own template language, and once for SES's, which has no loops: its rows are rendered before.
"""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

VARIABLES = ("first_name", "city", "plan", "points", "code")
CONFIGURATION_SET = "waypost"
FROM = "news@bench.example"

_STYLE = "margin:0 0 14px;padding:0 24px;font:16px/1.5 Helvetica,Arial,sans-serif;color:#222"
_PARAGRAPH = (
    "Every week our buyers walk the markets before sunrise, taste what has just come in, and write down what is worth "
    "your basket. This is what they found: fruit from orchards that prune by hand, bread from a mill that still turns "
    "with the river, and cheese that had the time it needs. What is not good enough does not get a place on this page."
)
_HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The weekly letter</title></head>'
    '<body style="margin:0;background:#f4f4f0"><table role="presentation" width="600" align="center"><tr><td>'
)
_FOOT = "</td></tr></table></body></html>"
_PARAGRAPHS = 22


def _page(*, name: str, city: str, plan: str, points: str, code: str, rows: str) -> str:
    text = "".join(f'<p style="{_STYLE}">{_PARAGRAPH}</p>' for _ in range(_PARAGRAPHS))
    return (
        f'{_HEAD}<h1 style="{_STYLE}">Good morning, {name}</h1><p style="{_STYLE}">Fresh in {city} for members of '
        f'{plan}; you have {points} points.</p>{text}<table width="100%">{rows}</table>'
        f'<p style="{_STYLE}">Your code: {code}</p>{_FOOT}'
    )


def _row(name: str, price: str) -> str:
    return f'<tr><td style="{_STYLE}">{name}</td><td style="{_STYLE}">{price} €</td></tr>'


LIQUID_SUBJECT = "{{ contact.first_name }}, this week in {{ contact.city }}"
LIQUID_HTML = _page(
    name="{{ contact.first_name }}",
    city="{{ contact.city }}",
    plan="{{ contact.plan }}",
    points="{{ contact.points }}",
    code="{{ contact.code }}",
    rows="{% for item in contact.items %}" + _row("{{ item.name }}", "{{ item.price }}") + "{% endfor %}",
)
LIQUID_TEXT = "Good morning, {{ contact.first_name }}. This letter is best read as HTML."

SES_SUBJECT = "{{first_name}}, this week in {{city}}"
SES_HTML = _page(
    name="{{first_name}}", city="{{city}}", plan="{{plan}}", points="{{points}}", code="{{code}}", rows="{{rows}}"
)
SES_TEXT = "Good morning, {{first_name}}. This letter is best read as HTML."


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A recipient as the controls have it: as much to say as of a contact of `waypost.drills.crowd`."""

    number: int
    address: str
    values: dict[str, str]
    items: tuple[tuple[str, str], ...]

    @property
    def slots(self) -> dict[str, str]:
        """What SES's template asks for."""
        rows = "".join(_row(html.escape(name), html.escape(price)) for name, price in self.items)
        return {**{name: html.escape(value) for name, value in self.values.items()}, "rows": rows}

    @property
    def headers(self) -> list[dict[str, str]]:
        """RFC 8058's two."""
        url = f"https://bench.example/unsubscribe/{self.number:012d}-a-token-as-long-as-ours-is-0123456789abcdef"
        return [
            {"Name": "List-Unsubscribe", "Value": f"<{url}>"},
            {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
        ]


def person(number: int, *, word: str) -> Person:
    """The n-th recipient of an arm; `word` keeps arms apart."""
    names, cities = ("Ann", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus"), ("Ghent", "Lyon", "Porto", "Turin", "Graz")
    values = {
        "first_name": names[number % 7],
        "city": cities[number % 5],
        "plan": ("basic", "plus", "team")[number % 3],
        "points": str(number % 5000),
        "code": f"C-{number}",
    }
    items = tuple((f"Item {place}", str((number * place) % 97)) for place in range(1, 4 + number % 4))
    return Person(number=number, address=f"ok+{word}-{number}@crowd.test", values=values, items=items)


def rendered(who: Person) -> tuple[str, str, str]:
    """Subject, HTML and text."""
    parts = [SES_SUBJECT, SES_HTML, SES_TEXT]
    for name, value in who.slots.items():
        parts = [part.replace(f"{{{{{name}}}}}", value) for part in parts]
    return parts[0], parts[1], parts[2]


def single_request(who: Person, *, attempt: str) -> dict[str, Any]:
    """`send_email`'s arguments."""
    subject, body, text = rendered(who)
    simple = {
        "Subject": {"Data": subject},
        "Body": {"Html": {"Data": body}, "Text": {"Data": text}},
        "Headers": who.headers,
    }
    return {
        "FromEmailAddress": FROM,
        "Destination": {"ToAddresses": [who.address]},
        "Content": {"Simple": simple},
        "ConfigurationSetName": CONFIGURATION_SET,
        "EmailTags": [_tag(attempt)],
    }


def bulk_request(people: Sequence[Person], attempts: Sequence[str], *, whole: bool) -> dict[str, Any]:
    """`send_bulk_email`'s arguments: each one's whole content, or one template and each one's values."""
    template = (
        {"Subject": "{{s}}", "Html": "{{h}}", "Text": "{{t}}"}
        if whole
        else {"Subject": SES_SUBJECT, "Html": SES_HTML, "Text": SES_TEXT}
    )
    return {
        "FromEmailAddress": FROM,
        "DefaultContent": {"Template": {"TemplateContent": template, "TemplateData": "{}"}},
        "BulkEmailEntries": [_entry(who, attempt, whole=whole) for who, attempt in zip(people, attempts, strict=True)],
        "ConfigurationSetName": CONFIGURATION_SET,
    }


def _entry(who: Person, attempt: str, *, whole: bool) -> dict[str, Any]:
    values = dict(zip("sht", rendered(who), strict=True)) if whole else who.slots
    return {
        "Destination": {"ToAddresses": [who.address]},
        "ReplacementTags": [_tag(attempt)],
        "ReplacementHeaders": who.headers,
        "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": json.dumps(values)}},
    }


def _tag(attempt: str) -> dict[str, str]:
    return {"Name": "waypost_attempt", "Value": attempt}
