import httpx
import pytest
from twilio.rest import Client

from tests.simulators.clients import Aws, twilio
from waypost.simulators.inbox import Inbox, InboxMessage
from waypost.simulators.running import RunningSimulator


@pytest.fixture
def browser(simulator: RunningSimulator) -> httpx.Client:
    return httpx.Client(base_url=simulator.url, trust_env=False)


def test_the_list_shows_and_searches_messages(aws: Aws, browser: httpx.Client) -> None:
    with browser:
        aws.send("findme@example.com", tag="needle-7")
        assert "findme@example.com" in browser.get("/").text
        assert "findme@example.com" in browser.get("/", params={"q": "needle-7", "channel": "email"}).text
        assert "findme@example.com" not in browser.get("/", params={"q": "needle-7", "channel": "sms"}).text
        assert "Nothing matches" in browser.get("/", params={"q": "<script>"}).text
        assert "<script>" not in browser.get("/", params={"q": "<script>"}).text.replace('<script src="/assets', "")


def test_a_message_shows_its_parts_and_its_html_in_a_sandbox(aws: Aws, browser: httpx.Client) -> None:
    with browser:
        message_id = aws.send("bounce+page@example.com", tag="page-1")
        assert len(aws.events(2)) == 2
        page = browser.get(f"/inbox/{message_id}").text
        for part in ("Hello there", "page-1", 'sandbox="allow-popups"', "Bounce", "HTML source"):
            assert part in page
        html = browser.get(f"/inbox/{message_id}/html")
        assert "<p>Hello</p>" in html.text
        assert html.headers["content-security-policy"].startswith("sandbox")


def test_a_text_message_shows_as_a_conversation(simulator: RunningSimulator, sid: str, browser: httpx.Client) -> None:
    client: Client = twilio(simulator, sid)
    with browser:
        first = client.messages.create(
            to="+14155559999", from_="+15005550006", body="See https://example.com/x?a=1&b=2"
        )
        client.messages.create(to="+14155559999", from_="+15005550006", body="<b>bold</b>")
        page = browser.get(f"/inbox/{first.sid}").text
        assert "Reply as +14155559999" in page
        assert 'href="https://example.com/x?a=1&amp;b=2"' in page
        assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_assets_are_served_and_other_paths_are_not_found(browser: httpx.Client) -> None:
    with browser:
        assert browser.get("/assets/inbox.css").headers["content-type"].startswith("text/css")
        assert browser.get("/assets/../server.py").status_code == 404
        assert browser.get("/inbox/nothing").status_code == 404
        assert browser.get("/control/nothing").status_code == 404
        assert browser.delete("/").status_code == 405


def test_the_inbox_is_bounded_in_messages_and_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox(3)
    for number in range(5):
        inbox.add(a_message(f"m{number}", "x"))
    assert [each.message_id for each in inbox.search("", skip=0, limit=9)] == ["m4", "m3", "m2"]
    monkeypatch.setattr("waypost.simulators.inbox.MAX_CHARACTERS", 10)
    inbox.add(a_message("large", "x" * 9))
    assert [each.message_id for each in inbox.search("", skip=0, limit=9)] == ["large", "m4"]


def a_message(message_id: str, text: str) -> InboxMessage:
    return InboxMessage("ses", "k", message_id, "email", "s@s.example", "r@r.example", text=text)
