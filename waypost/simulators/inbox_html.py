"""The inbox's HTML, written out by hand: two pages and their parts."""

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote, urlencode

from waypost.simulators.inbox import STATUS_WORDS, InboxMessage

GOOD = frozenset({"delivered", "read", "opened", "clicked"})
WARN = frozenset({"delayed"})
BAD = frozenset({"bounced", "complained", "rejected", "not rendered", "undelivered", "failed"})
FRESH = frozenset({"accepted", "queued"})
LINK = re.compile(r"https?://[^\s<>\"]+")
PREVIEW_LENGTH = 140

ICONS = {
    "email": '<rect x="3" y="5" width="18" height="14" rx="2.5"/><path d="m4 7 8 6 8-6"/>',
    "sms": '<path d="M4 5h16l1.5 1.5v9L20 17h-8l-5 4v-4H4l-1.5-1.5v-9z"/>',
    "whatsapp": '<path d="M4 20l1.2-3.8A8 8 0 1 1 8.4 19z"/><path d="M9 9c0 3.5 2.5 6 6 6"/>',
    "post": '<path d="M12 3v18"/><path d="M12 5h7l2 2.5L19 10h-7z"/><path d="M12 11H5l-2 2.5L5 16h7z"/>',
    "tray": '<path d="M3 13l3-8h12l3 8v6H3z"/><path d="M3 13h5l1.5 3h5L16 13h5"/>',
}


def icon(name: str) -> str:
    """A line drawing."""
    return (
        '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" '
        f'stroke-linejoin="round" aria-hidden="true">{ICONS[name]}</svg>'
    )


def tone(status: str) -> str:
    """The colour class of a status."""
    status = STATUS_WORDS.get(status, status)
    for name, statuses in (("good", GOOD), ("warn", WARN), ("bad", BAD), ("plain", FRESH)):
        if status in statuses:
            return name
    return ""


def pill(status: str) -> str:
    """A status as a pill."""
    return f'<span class="pill {tone(status)}">{escape(status)}</span>'


def clock(at: float) -> str:
    """Time of day, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def ago(at: float) -> str:
    """How long ago, in one unit; the time of day after an hour."""
    seconds = max(0, int(time.time() - at))
    if seconds < 60:
        return f"{seconds} s ago"
    return f"{seconds // 60} min ago" if seconds < 3600 else clock(at)


def message_url(message: InboxMessage) -> str:
    """The page of one message."""
    return f"/inbox/{quote(message.message_id)}"


def page(title: str, body: str, *, words: str, figures: Iterable[tuple[str, int, bool]], faults: list[str]) -> str:
    """A whole document. A figure is (label, value, whether it is bad)."""
    shown = "".join(
        f'<span class="{"bad" if bad else ""}"><b>{value:,}</b>{label}</span>' for label, value, bad in figures
    )
    strip = f'<div class="faults"><p>Faults in force: {escape(", ".join(faults))}</p></div>' if faults else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/assets/inbox.css">'
        '<link rel="icon" href="data:,"></head><body>'
        '<div class="top"><div class="bar">'
        f'<a class="brand" href="/">{icon("post")}Waypost <small>simulator inbox</small></a>'
        '<form class="search" action="/" role="search"><input type="search" name="q" aria-label="Search" '
        f'placeholder="Search recipient, subject, text, attempt…" value="{escape(words)}"></form>'
        f'<div class="figures">{shown}</div></div></div>{strip}<main>{body}</main>'
        '<script src="/assets/inbox.js" defer></script></body></html>'
    )


def list_body(
    messages: list[InboxMessage], *, words: str, channel: str, status: str, skip: int, more: bool, statuses: list[str]
) -> str:
    """The list with its filters."""
    rows = "".join(map(row, messages)) or empty(words)
    return (
        f'<div class="chips">{chips(words=words, channel=channel, status=status, statuses=statuses)}</div>'
        f'<div class="list" data-live>{rows}</div>'
        f"{pager(words=words, channel=channel, status=status, skip=skip, shown=len(messages), more=more)}"
    )


def address(text: str) -> str:
    """An address without the prefix that its icon says already."""
    return escape(text.replace("whatsapp:", ""))


def row(message: InboxMessage) -> str:
    """One line of the list."""
    preview = escape(" ".join(message.text.split())[:PREVIEW_LENGTH])
    what = f"{escape(message.subject)} <span>{preview}</span>" if message.subject else preview
    who, other = (message.source, "→ " + message.recipient) if message.inbound else (message.recipient, message.source)
    return (
        f'<a class="row" href="{message_url(message)}">'
        f'<span class="icon {message.channel}">{icon(message.channel)}</span>'
        f'<span class="who">{address(who)}<small>{address(other)}</small></span><span class="what">{what}</span>'
        f"<span>{pill('received' if message.inbound else message.status)}</span>"
        f'<span class="time" title="{clock(message.at)} UTC">{ago(message.at)}</span></a>'
    )


def empty(words: str) -> str:
    """What stands in place of no message."""
    if words:
        return (
            f'<div class="empty">{icon("tray")}<h2>Nothing matches “{escape(words)}”</h2><p>Try fewer words.</p></div>'
        )
    return (
        f'<div class="empty">{icon("tray")}<h2>Nothing has arrived yet</h2>'
        "<p>Messages sent through a test account show up here within a second or two.</p></div>"
    )


def link(label: str, *, on: bool, **query: str) -> str:
    """A filter."""
    target = "/?" + urlencode({name: value for name, value in query.items() if value})
    return f'<a class="chip {"on" if on else ""}" href="{escape(target)}">{escape(label)}</a>'


def chips(*, words: str, channel: str, status: str, statuses: list[str]) -> str:
    """The filters by channel and status."""
    by_channel = [("All", ""), ("Email", "email"), ("SMS", "sms"), ("WhatsApp", "whatsapp")]
    first = "".join(link(label, on=channel == key, q=words, channel=key, status=status) for label, key in by_channel)
    second = "".join(
        link(each, on=status == each, q=words, channel=channel, status="" if status == each else each)
        for each in statuses
    )
    return f'{first}<span class="gap"></span>{second}'


def pager(*, words: str, channel: str, status: str, skip: int, shown: int, more: bool) -> str:
    """Newer and older."""

    def go(label: str, to: int) -> str:
        query = {"q": words, "channel": channel, "status": status, "skip": str(to) if to else ""}
        return f'<a class="chip" href="/?{escape(urlencode({k: v for k, v in query.items() if v}))}">{label}</a>'

    newer = go("← Newer", max(0, skip - max(shown, 1))) if skip else "<span></span>"
    older = go("Older →", skip + shown) if more else "<span></span>"
    place = f"{skip + 1:,}–{skip + shown:,}" if shown else ""
    return f'<div class="pages">{newer}<span>{place}</span>{older}</div>'


def message_body(message: InboxMessage, conversation: list[InboxMessage]) -> str:
    """One message with everything that is known of it."""
    main = email_card(message) if message.channel == "email" else phone_card(message, conversation)
    return (
        '<a class="back" href="/">← All messages</a><div class="message">'
        f'{main}<div class="side">{events_card(message)}{facts_card(message)}</div></div>'
    )


def email_card(message: InboxMessage) -> str:
    """Subject, addresses, and the content in tabs."""
    parts = [
        ("html", "Preview", f'<iframe sandbox="allow-popups" title="HTML" src="{message_url(message)}/html"></iframe>')
    ]
    if not message.html:
        parts = []
    parts.append(("text", "Text", f"<pre>{linked(message.text) or '<i>no text part</i>'}</pre>"))
    parts.append(("headers", "Headers", headers_table(message)))
    if message.html:
        parts.append(("source", "HTML source", f"<pre>{escape(message.html)}</pre>"))
    return (
        f'<article class="card"><div class="head"><h1>{escape(message.subject) or "(no subject)"}</h1>'
        f"<p>From <b>{escape(message.source)}</b></p><p>To <b>{escape(message.recipient)}</b></p></div>"
        f"{tabs(parts)}</article>"
    )


def tabs(parts: list[tuple[str, str, str]]) -> str:
    """Tabs without a script: radio buttons and sections of (name, label, content)."""
    inputs = "".join(
        f'<input type="radio" name="tab" id="t-{name}"{" checked" if index == 0 else ""}>'
        for index, (name, _, _) in enumerate(parts)
    )
    labels = "".join(f'<label for="t-{name}">{label}</label>' for name, label, _ in parts)
    sections = "".join(f'<section class="p-{name}">{content}</section>' for name, _, content in parts)
    return f'<div class="tabs">{inputs}<nav>{labels}</nav>{sections}</div>'


def headers_table(message: InboxMessage) -> str:
    """The headers and attachments given with the message."""
    rows = [("From", message.source), ("To", message.recipient), ("Subject", message.subject), *message.headers]
    rows += [("Attachment", f"{name} ({size:,} bytes)") for name, size in message.attachments]
    return "<table>" + "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in rows) + "</table>"


def linked(text: str) -> str:
    """Text with its links made so."""
    pieces, end = [], 0
    for found in LINK.finditer(text):
        url = escape(found.group())
        pieces.append(escape(text[end : found.start()]))
        pieces.append(f'<a href="{url}" target="_blank" rel="noreferrer">{url}</a>')
        end = found.end()
    return "".join(pieces) + escape(text[end:])


def phone_card(message: InboxMessage, conversation: list[InboxMessage]) -> str:
    """The conversation on a telephone, with a field to answer as the person."""
    person, business = (message.source, message.recipient) if message.inbound else (message.recipient, message.source)
    skin = "wa" if message.channel == "whatsapp" else ""
    bubbles = "".join(bubble(each, here=each is message) for each in conversation)
    hidden = {"account": message.account, "from": person, "to": business}
    fields = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in hidden.items())
    return (
        f'<article class="card stage"><div class="phone {skin}"><div class="screen">'
        f"<header><i>{escape(initial(business))}</i>{address(business)}</header>"
        f'<div class="talk">{bubbles}</div><form class="reply">{fields}'
        f'<input name="body" autocomplete="off" aria-label="Reply" placeholder="Reply as {address(person)}">'
        '<button aria-label="Send">↑</button></form></div></div></article>'
    )


def initial(business: str) -> str:
    """What stands in a sender's picture."""
    first = business.removeprefix("whatsapp:")[:1]
    return first.upper() if first.isalpha() else "#"


def bubble(message: InboxMessage, *, here: bool) -> str:
    """One text message."""
    classes = f"bubble {'mine' if message.inbound else ''} {'here' if here else ''}"
    note = "" if message.inbound else f'<span class="note">{escape(message.status)}</span>'
    return f'<span class="stamp">{clock(message.at)}</span><div class="{classes}">{linked(message.text)}</div>{note}'


def events_card(message: InboxMessage) -> str:
    """What happened, in order."""
    first = ("received" if message.inbound else "accepted", message.at)
    steps = [first, *((kind, at) for at, kind in message.events)]
    items = "".join(
        f'<li class="{tone(kind)}">{escape(kind)}<small>{clock(at)} UTC · +{at - message.at:.2f} s</small></li>'
        for kind, at in steps
    )
    return f'<div class="card"><h2>Events</h2><ol class="timeline">{items}</ol></div>'


def facts_card(message: InboxMessage) -> str:
    """Ids and tags."""
    facts = [
        ("Provider", f"{message.provider} · {message.account}"),
        ("Message id", message.message_id),
        ("Attempt", message.attempt_id or "none given"),
        *((f"Tag {name}", value) for name, value in message.tags.items() if value != message.attempt_id),
    ]
    shown = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in facts)
    return f'<div class="card"><h2>Details</h2><dl>{shown}</dl></div>'
