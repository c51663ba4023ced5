"""The inbox in a browser: a list with search, and a page for each message."""

from collections import Counter
from importlib import resources
from urllib.parse import unquote

from waypost.simulators import inbox_html
from waypost.simulators.simulator import Simulator
from waypost.simulators.wire import Reply, Request, text_reply

PAGE_SIZE = 50
CONVERSATION = 50
HTML = b"text/html; charset=utf-8"
ASSETS = {"inbox.css": b"text/css; charset=utf-8", "inbox.js": b"text/javascript; charset=utf-8"}
MESSAGE_POLICY = (
    b"sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src * data:; "
    b"style-src 'unsafe-inline' *; font-src *"
)
OPEN_LINKS_OUTSIDE = '<base target="_blank">'


class InboxPage:
    """Answers `/`, `/inbox/{id}`, `/inbox/{id}/html` and the two assets."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        folder = resources.files("waypost.simulators") / "assets"
        self._assets = {name: (folder / name).read_bytes() for name in ASSETS}

    def handle(self, request: Request) -> Reply:
        """One request."""
        if request.method not in ("GET", "HEAD"):
            return text_reply("method not allowed", status=405)
        match request.path.strip("/").split("/"):
            case [""]:
                return self._list(request)
            case ["inbox", message_id]:
                return self._message(unquote(message_id))
            case ["inbox", message_id, "html"]:
                return self._html_part(unquote(message_id))
            case ["assets", name] if name in ASSETS:
                return Reply(self._assets[name], content_type=ASSETS[name])
            case _:
                return text_reply("not found", status=404)

    def _list(self, request: Request) -> Reply:
        query = request.query()
        words, channel, status = query.get("q", ""), query.get("channel", ""), query.get("status", "")
        skip = int(query.get("skip", "0")) if query.get("skip", "0").isdigit() else 0
        inbox = self._simulator.inbox
        found = inbox.search(words, channel=channel, status=status, skip=skip, limit=PAGE_SIZE + 1)
        common = Counter(each.status for each in inbox.search("", skip=0, limit=1_000))
        body = inbox_html.list_body(
            found[:PAGE_SIZE],
            words=words,
            channel=channel,
            status=status,
            skip=skip,
            more=len(found) > PAGE_SIZE,
            statuses=[name for name, _ in common.most_common(8)],
        )
        return self._page("Waypost inbox", body, words=words)

    def _message(self, message_id: str) -> Reply:
        message = self._simulator.inbox.get(message_id)
        if message is None:
            gone = (
                '<div class="empty"><h2>This message is not here</h2><p>The inbox keeps the last ones only.</p></div>'
            )
            return self._page("Not here", gone, status=404)
        person = message.source if message.inbound else message.recipient
        talk = [] if message.channel == "email" else self._simulator.inbox.conversation(person, limit=CONVERSATION)
        return self._page(message.subject or message.recipient, inbox_html.message_body(message, talk))

    def _html_part(self, message_id: str) -> Reply:
        message = self._simulator.inbox.get(message_id)
        if message is None:
            return text_reply("not found", status=404)
        body = (OPEN_LINKS_OUTSIDE + message.html).encode()
        return Reply(body, content_type=HTML, headers=((b"content-security-policy", MESSAGE_POLICY),))

    def _page(self, title: str, body: str, *, words: str = "", status: int = 200) -> Reply:
        simulator = self._simulator
        figures = [
            ("accepted", simulator.truth.count, False),
            ("events", simulator.feed.counters.delivered, False),
            ("duplicates", simulator.truth.duplicates, simulator.truth.duplicates > 0),
        ]
        faults = [str(each["fault"]) for each in simulator.faults.view() if not each["over"]]
        document = inbox_html.page(title, body, words=words, figures=figures, faults=faults)
        return text_reply(document, status=status, content_type=HTML)
