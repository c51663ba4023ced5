"""The look of the pages that people reach by a link: plain HTML and CSS, no script, nothing from elsewhere."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from html import escape

from starlette.responses import HTMLResponse

from waypost.messaging.values import Channel

_STYLE = """
:root{color-scheme:light dark;--ink:#1a1f24;--soft:#566370;--page:#f3f5f7;--card:#fff;--line:#d5dbe1;--act:#1f5fbf;
--act-ink:#fff;--note:#eef4fd}
@media(prefers-color-scheme:dark){:root{--ink:#e9edf1;--soft:#a3b0bc;--page:#14181c;--card:#1d2328;--line:#38424b;
--act:#7db0ff;--act-ink:#0b1a30;--note:#22304a}}
*{box-sizing:border-box}
body{margin:0;padding:clamp(1rem,6vw,4rem) 1rem;background:var(--page);color:var(--ink);
font:1.0625rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
main{max-width:34rem;margin:0 auto;padding:clamp(1.25rem,5vw,2.25rem);background:var(--card);
border:1px solid var(--line);border-radius:.75rem}
.from{margin:0 0 .75rem;color:var(--soft);font-size:.9375rem;font-weight:600}
h1{margin:0 0 .75rem;font-size:clamp(1.375rem,5vw,1.75rem);line-height:1.25}
p{margin:0 0 1rem}
.soft{color:var(--soft);font-size:.9375rem}
form{margin:0 0 1.25rem}
main>:last-child,form>:last-child{margin-bottom:0}
fieldset{margin:0 0 1.25rem;padding:0;border:0}
legend{padding:0;margin-bottom:.5rem}
.topic{display:grid;grid-template-columns:auto 1fr;gap:0 .75rem;padding:.8rem 0;border-top:1px solid var(--line)}
.topic input{width:1.25rem;height:1.25rem;margin:.2rem 0 0;accent-color:var(--act)}
.topic label{font-weight:600;cursor:pointer}
.topic span{grid-column:2;color:var(--soft);font-size:.9375rem}
button{font:inherit;font-weight:600;padding:.7rem 1.25rem;border:2px solid var(--act);border-radius:.5rem;
background:var(--act);color:var(--act-ink);cursor:pointer}
button.quiet{background:none;color:var(--act)}
.acts{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.25rem 0}
a{color:var(--act)}
:focus-visible{outline:3px solid var(--act);outline-offset:3px}
.note{padding:.8rem 1rem;border-radius:.5rem;background:var(--note)}
"""

_SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex, nofollow">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{content}
</main>
</body>
</html>
"""


def page(
    title: str,
    *content: str,
    sender: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """A page. `title` and `sender` are plain text; `content` is HTML that was made by the functions below."""
    top = f'<p class="from">{escape(sender)}</p>' if sender else ""
    body = "\n".join([top, f"<h1>{escape(title)}</h1>", *content])
    named = f"{title} · {sender}" if sender else title
    return HTMLResponse(
        _SHELL.format(title=escape(named), style=_STYLE, content=body), status, {**_headers(), **(headers or {})}
    )


def bold(text: str) -> str:
    """Anybody's text, to stand in a paragraph."""
    return f"<strong>{escape(text)}</strong>"


def paragraph(markup: str) -> str:
    """A paragraph of words of ours, with `bold` for those of others."""
    return f"<p>{markup}</p>"


def remark(markup: str) -> str:
    """A paragraph of less weight."""
    return f'<p class="soft">{markup}</p>'


def notice(markup: str) -> str:
    """A paragraph that says what has just happened; screen readers say it first."""
    return f'<p class="note" role="status">{markup}</p>'


def link(text: str, url: str) -> str:
    """A paragraph that is a link."""
    return f'<p><a href="{escape(url)}">{escape(text)}</a></p>'


def button_form(text: str, *, fields: Mapping[str, str]) -> str:
    """A form that is one button, posting to the page's own address."""
    hidden = "".join(_hidden(name, value) for name, value in fields.items())
    return f'<form method="post">{hidden}<div class="acts"><button>{escape(text)}</button></div></form>'


def choice(*, key: str, name: str, notes: Iterable[str], chosen: bool) -> str:
    """A topic with its check box. `key` is a slug."""
    told = "<br>".join(escape(note) for note in notes if note)
    described = f'<span id="d-{key}">{told}</span>' if told else ""
    named = f' aria-describedby="d-{key}"' if told else ""
    checked = " checked" if chosen else ""
    return (
        f'<div class="topic">{_hidden("shown", key)}<input type="checkbox" name="topic" id="t-{key}" value="{key}"'
        f'{named}{checked}><label for="t-{key}">{escape(name)}</label>{described}</div>'
    )


def choices_form(legend: str, choices: Iterable[str]) -> str:
    """The form of a preferences page: choices with a button to save, one to leave everything. `legend` is markup."""
    topics = "".join(choices)
    save = '<button name="do" value="save">Save</button>' if topics else ""
    boxes = f'<fieldset><legend class="soft">{legend}</legend>{topics}</fieldset>' if topics else ""
    leave = '<button class="quiet" name="do" value="leave_all">Unsubscribe from everything</button>'
    return f'<form method="post">{boxes}<div class="acts">{save}{leave}</div></form>'


def masked(channel: Channel, address: str) -> str:
    """Enough of an address for its owner to know it, and for nobody else."""
    if channel is not Channel.EMAIL:
        return f"•••{address[-2:]}"
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}"


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{name}" value="{escape(value)}">'


@cache
def _headers() -> Mapping[str, str]:
    # The address of the page is a key to it: kept nowhere, sent nowhere.
    style = b64encode(sha256(_STYLE.encode()).digest()).decode()
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
    }
