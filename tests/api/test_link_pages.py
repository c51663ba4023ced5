"""From a signed link to the page, to the click, to what is kept: through the app, as a person or a mailbox goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from tests.api.message_fixtures import Shop, open_shop, receipt
from tests.api.running import SECRET_KEY, Api, ok, problem, running
from tests.services import Database
from waypost.messaging import ids
from waypost.messaging.link_tokens import LinkSigner
from waypost.messaging.unsubscribe_links import Links, unsubscribe_links
from waypost.messaging.values import Channel

SIGNER = LinkSigner(SECRET_KEY)
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@dataclass(frozen=True)
class Reader:
    """A contact with a message of ours, and a browser without any key."""

    shop: Shop
    browser: httpx.AsyncClient
    name: str
    message: str

    @property
    def contact(self) -> UUID:
        return ids.contact_id(tenant=self.shop.id, external_id=self.name)

    def links(self, topic: str | None = None, **changes: Any) -> Links:
        named = {
            "tenant": self.shop.id,
            "contact": self.contact,
            "topic": ids.topic_id(tenant=self.shop.id, key=topic) if topic else None,
            "message": UUID(self.message),
            **changes,
        }
        return unsubscribe_links(SIGNER, "http://api.test", **named)

    async def words(self) -> dict[str, str | None]:
        listed = await ok(self.shop.client.get(f"/v1/contacts/{self.name}/topics"))
        return {word["topic"]: word["state"] for word in listed["data"]}

    def suppressed(self) -> set[tuple[str, str, str]]:
        rows = self.shop.rows(
            "SELECT channel, address, reason FROM suppressions WHERE tenant_id = %s AND address LIKE %s",
            *(self.shop.id, f"%{self.name}%"),
        )
        return {(row["channel"], row["address"], row["reason"]) for row in rows}

    @property
    def counted(self) -> bool:
        return bool(self.shop.message(self.message)["unsubscribed"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(api: Api, module_database: Database) -> AsyncIterator[Shop]:
    shop = await open_shop(api, module_database)
    await ok(shop.client.put("/v1/topics/news", json={"name": "News <b>& more</b>", "description": "Each month"}))
    await ok(shop.client.put("/v1/topics/tips", json={"name": "Tips", "opt_in": True}))
    await ok(shop.client.put("/v1/topics/club", json={"name": "The club", "opt_in": True, "double_opt_in": True}))
    yield shop


@pytest_asyncio.fixture(loop_scope="session")
async def reader(api: Api, shop: Shop, request: pytest.FixtureRequest) -> AsyncIterator[Reader]:
    name = request.node.name.removeprefix("test_")[:60].split("[")[0]
    await ok(shop.client.put(f"/v1/contacts/{name}", json={"email": f"{name}@reader.test"}))
    message = (await shop.sent(receipt(to={"contact": name})))["id"]
    async with api.client(None) as browser:
        yield Reader(shop, browser, name, message)


async def test_asking_changes_nothing_and_the_click_leaves_the_topic(reader: Reader) -> None:
    url = reader.links("news").unsubscribe_url
    for method in ("GET", "HEAD"):
        assert (await reader.browser.request(method, url)).status_code == 200
    assert (await reader.words())["news"] is None
    assert not reader.counted
    for _ in range(2):
        response = await reader.browser.post(url, data=ONE_CLICK)
        assert response.status_code == 200
        assert "You are unsubscribed" in response.text
    assert (await reader.words())["news"] == "unsubscribed"
    assert reader.counted
    assert reader.suppressed() == set()


async def test_a_campaign_counts_each_recipient_that_leaves_once(reader: Reader) -> None:
    run = _run(reader.shop, "news")
    reader.shop.rows("UPDATE messages SET source = 'campaign', run_id = %s WHERE id = %s", run, reader.message)
    for url in (
        reader.links("news").unsubscribe_url,
        reader.links("news").unsubscribe_url,
        reader.links().unsubscribe_url,
    ):
        await reader.browser.post(url)
    [tally] = reader.shop.rows("SELECT sum(unsubscribed) AS left FROM run_tally_additions WHERE run_id = %s", run)
    assert tally["left"] == 1


async def test_a_topic_of_a_campaign_that_has_not_ended_cannot_go(shop: Shop) -> None:
    await ok(shop.client.put("/v1/topics/used", json={"name": "Used"}))
    run = _run(shop, "used")
    await problem(shop.client.delete("/v1/topics/used"), 409, "topic_in_use")
    shop.rows("UPDATE campaign_runs SET state = 'completed' WHERE id = %s", run)
    await ok(shop.client.delete("/v1/topics/used"))


@pytest.mark.parametrize("form", ["urlencoded", "multipart", "nothing"])
async def test_a_mailbox_s_one_click_works_in_each_of_the_forms(reader: Reader, form: str) -> None:
    forms: dict[str, dict[str, Any]] = {
        "urlencoded": {"data": ONE_CLICK},
        "multipart": {"files": {"List-Unsubscribe": (None, "One-Click")}},
        "nothing": {},
    }
    header = dict(reader.links("tips").headers)["List-Unsubscribe"]
    assert (await reader.browser.post(header.strip("<>"), **forms[form])).status_code == 200
    assert (await reader.words())["tips"] == "unsubscribed"


async def test_without_a_topic_the_address_is_suppressed_for_marketing(reader: Reader) -> None:
    page = await reader.browser.post(reader.links().unsubscribe_url)
    assert "marketing messages" in page.text
    assert reader.suppressed() == {("email", f"{reader.name}@reader.test", "unsubscribed")}
    assert reader.counted
    assert (await reader.words())["news"] is None


async def test_the_address_that_the_message_went_to_is_left_alone_as_well_as_the_new_one(reader: Reader) -> None:
    await ok(reader.shop.client.put(f"/v1/contacts/{reader.name}", json={"email": f"new-{reader.name}@reader.test"}))
    await reader.browser.post(reader.links().unsubscribe_url)
    addresses = {address for _, address, _ in reader.suppressed()}
    assert addresses == {f"{reader.name}@reader.test", f"new-{reader.name}@reader.test"}


async def test_a_stronger_reason_stays(reader: Reader) -> None:
    address = f"{reader.name}@reader.test"
    body = {"channel": "email", "address": address, "reason": "complaint"}
    await ok(reader.shop.client.post("/v1/suppressions", json=body))
    await reader.browser.post(reader.links().unsubscribe_url)
    await reader.browser.post(reader.links().preferences_url, data={"shown": "tips", "topic": "tips"})
    assert reader.suppressed() == {("email", address, "complaint")}


async def test_who_is_no_contact_any_more_can_still_leave(reader: Reader) -> None:
    await ok(reader.shop.client.delete(f"/v1/contacts/{reader.name}"))
    links = reader.links("news")
    assert (await reader.browser.get(links.preferences_url)).status_code == 200
    assert (await reader.browser.post(links.unsubscribe_url)).status_code == 200
    assert reader.suppressed() == {("email", f"{reader.name}@reader.test", "unsubscribed")}


async def test_preferences_show_every_topic_and_keep_what_was_chosen(reader: Reader) -> None:
    url = reader.links("news").preferences_url
    page = await reader.browser.get(url)
    assert _checked(page.text) == {"news"}
    assert "&lt;b&gt;&amp; more" in page.text
    page = await reader.browser.post(url, data={"shown": ["news", "tips"], "topic": ["tips"], "do": "save"})
    assert _checked(page.text) == {"tips"}
    words = await reader.words()
    assert (words["news"], words["tips"], words["club"]) == ("unsubscribed", "subscribed", None)
    assert reader.counted
    await reader.browser.post(url, data={"shown": ["news", "tips"], "topic": ["tips", "news"]})
    assert (await reader.words())["news"] == "subscribed"


async def test_leaving_everything_and_coming_back(reader: Reader) -> None:
    url = reader.links().preferences_url
    await ok(reader.shop.client.put(f"/v1/contacts/{reader.name}/topics/tips"))
    page = await reader.browser.post(url, data={"shown": ["news", "tips", "club"], "topic": "tips", "do": "leave_all"})
    assert "unsubscribed from everything" in page.text
    assert _checked(page.text) == set()
    assert set((await reader.words()).values()) == {"unsubscribed"}
    assert reader.suppressed() == {("email", f"{reader.name}@reader.test", "unsubscribed")}
    page = await reader.browser.post(url, data={"shown": ["news", "tips", "club"], "topic": "tips", "do": "save"})
    assert _checked(page.text) == {"tips"}
    assert reader.suppressed() == set()


async def test_choosing_a_topic_with_double_opt_in_asks_for_the_click_which_confirms(reader: Reader) -> None:
    page = await reader.browser.post(reader.links().preferences_url, data={"shown": "club", "topic": "club"})
    assert "follow its link to confirm" in page.text
    assert (await reader.words())["club"] == "pending"
    url = _confirm_url(reader)
    asked = await reader.browser.get(url)
    assert "Confirm your subscription" in asked.text
    assert (await reader.words())["club"] == "pending", "a scanner that follows the link confirms nothing"
    for _ in range(2):
        assert "You are subscribed" in (await reader.browser.post(url)).text
    assert (await reader.words())["club"] == "subscribed"
    assert "You are subscribed" in (await reader.browser.get(url)).text
    await ok(reader.shop.client.delete(f"/v1/contacts/{reader.name}/topics/club"))
    response = await reader.browser.post(url)
    assert (response.status_code, (await reader.words())["club"]) == (404, "unsubscribed")


async def test_a_mailbox_that_is_not_the_contact_s_any_more_confirms_nothing(reader: Reader) -> None:
    await ok(reader.shop.client.put(f"/v1/contacts/{reader.name}/topics/club"))
    url = _confirm_url(reader)
    await ok(reader.shop.client.put(f"/v1/contacts/{reader.name}", json={"email": "another@reader.test"}))
    for method in ("GET", "POST"):
        assert (await reader.browser.request(method, url)).status_code == 404
    assert (await reader.words())["club"] == "pending"


async def test_confirming_brings_back_who_had_left_everything(reader: Reader) -> None:
    await reader.browser.post(reader.links().unsubscribe_url)
    await reader.browser.post(reader.links().preferences_url, data={"shown": "club", "topic": "club"})
    assert reader.suppressed() != set(), "a subscription that is not confirmed lifts nothing"
    await reader.browser.post(_confirm_url(reader))
    assert reader.suppressed() == set()


async def test_a_link_of_a_text_message_leaves_texts_alone(reader: Reader) -> None:
    name = reader.name
    await ok(
        reader.shop.client.put(f"/v1/contacts/{name}", json={"email": f"{name}@reader.test", "phone": "+436641234599"})
    )
    page = await reader.browser.post(reader.links(channel=Channel.SMS).unsubscribe_url)
    assert "•••99" in page.text
    rows = reader.shop.rows("SELECT channel, reason FROM suppressions WHERE address = '+436641234599'")
    assert rows == [{"channel": "sms", "reason": "unsubscribed"}]
    assert reader.suppressed() == set()


async def test_pages_are_private_plain_and_show_no_whole_address(reader: Reader) -> None:
    links = reader.links("news")
    for url in (links.unsubscribe_url, links.preferences_url, "http://api.test/u/nonsense"):
        page = await reader.browser.get(url)
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-robots-tag"] == "noindex, nofollow"
        assert page.headers["referrer-policy"] == "no-referrer"
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert f"{reader.name}@" not in page.text
        assert "<script" not in page.text
        assert 'lang="en"' in page.text
        assert 'name="viewport"' in page.text
        assert page.text.count("<h1>") == 1
        _Balanced().feed(page.text)


@pytest.mark.parametrize("path", ["/u/preview", "/p/x", "/c/x", "/u/" + "A" * 5000, "/u/%00%ff", "/p/ä"])
async def test_a_link_that_is_none_gets_a_friendly_page(reader: Reader, path: str) -> None:
    for method in ("GET", "POST"):
        response = await reader.browser.request(method, path)
        assert response.status_code == 404
        assert "This link does not work" in response.text
        assert response.headers["content-type"].startswith("text/html")


async def test_a_good_token_of_a_tenant_that_is_gone_is_no_link(reader: Reader) -> None:
    response = await reader.browser.get(reader.links(tenant=UUID(int=7)).unsubscribe_url)
    assert response.status_code == 404


async def test_a_link_of_one_tenant_does_nothing_in_another(reader: Reader, api: Api) -> None:
    """Only we can sign such a token; even then row security keeps to its tenant."""
    stranger = await api.tenant()
    await reader.browser.post(reader.links("news", tenant=stranger.id).unsubscribe_url)
    assert (await reader.words())["news"] is None
    assert not reader.counted


async def test_a_form_that_is_too_large_or_unreadable_changes_nothing(reader: Reader) -> None:
    url = reader.links().preferences_url
    for body in (b"topic=" + b"x" * 70_000, b"topic=\xff\xfe", b"&".join([b"topic=x"] * 600)):
        response = await reader.browser.post(url, content=body)
        assert response.status_code == 400
        assert "Nothing was changed" in response.text
    assert set((await reader.words()).values()) == {None}


async def test_a_page_asked_for_without_end_is_slowed_down(reader: Reader) -> None:
    url = reader.links("news").unsubscribe_url
    answers = [await reader.browser.get(url) for _ in range(40)]
    slowed = [answer for answer in answers if answer.status_code == 429]
    assert slowed
    assert int(slowed[0].headers["retry-after"]) >= 1
    assert "try again" in slowed[0].text


async def test_an_outage_is_told_on_a_page(database: Database) -> None:
    nowhere = Database(name="none", owner_url="postgresql://x:x@127.0.0.1:9/none")
    async with running(nowhere) as api, api.client(None) as browser:
        token = SIGNER.unsubscribe_token(tenant=UUID(int=1), contact=UUID(int=2))
        response = await browser.post(f"/u/{token}")
    assert response.status_code == 503
    assert "try again" in response.text
    assert response.headers["retry-after"] == "60"


def _run(shop: Shop, topic: str) -> UUID:
    """A run of a campaign of the topic's, as it sends."""
    campaign, run = uuid4(), uuid4()
    shop.rows(
        "INSERT INTO campaigns (tenant_id, id, key, name, mode, definition) VALUES (%s, %s, %s, 'x', 'test', '{}')",
        *(shop.id, campaign, str(campaign)),
    )
    shop.rows(
        "INSERT INTO campaign_runs (tenant_id, id, campaign_id, number, kind, mode, definition, state, channel,"
        " sender_id, account_id, topic_id, scheduled_at)"
        " SELECT s.tenant_id, %s, %s, 1, 'first', 'test', '{}', 'sending', 'email',"
        " s.id, s.account_id, %s, waypost_now()"
        " FROM senders s WHERE s.tenant_id = %s AND s.channel = 'email'",
        *(run, campaign, ids.topic_id(tenant=shop.id, key=topic), shop.id),
    )
    return run


def _confirm_url(reader: Reader) -> str:
    rows = reader.shop.rows(
        "SELECT payload FROM messages WHERE contact_id = %s AND tags @> ARRAY['subscription-confirmation'] "
        "ORDER BY created_at DESC LIMIT 1",
        reader.contact,
    )
    return str(rows[0]["payload"]["data"]["confirm_url"]).replace("http://127.0.0.1:8000", "http://api.test")


def _checked(page: str) -> set[str]:
    boxes = _Boxes()
    boxes.feed(page)
    return boxes.checked


class _Boxes(HTMLParser):
    """Finds the boxes that are checked."""

    def __init__(self) -> None:
        super().__init__()
        self.checked: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "input" and found.get("type") == "checkbox" and "checked" in found:
            self.checked.add(found["value"] or "")


class _Balanced(HTMLParser):
    """Refuses a page whose tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
