"""Runs of campaigns, laid by hand: contacts, a template, a campaign and its run, as scheduling leaves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg import sql
from psycopg.types.json import Jsonb

from tests.relay.ledger import Ledger
from waypost.campaigns.definition import CampaignDefinition
from waypost.campaigns.frozen import FrozenContent, FrozenRun
from waypost.messaging import ids
from waypost.messaging.values import Channel
from waypost.store.campaign_freeze import Freeze, freeze, set_prepared
from waypost.store.database import Database

EMAIL = {"channel": "email", "subject": "News", "text": "Hello {{ contact.attributes.name | default: 'you' }}"}
SMS = {"channel": "sms", "body": "Hello"}


async def add_contacts(ledger: Ledger, count: int, **columns: Any) -> list[UUID]:
    """Contacts a moment apart, the oldest first, each with an address of its own."""
    made = [uuid4() for _ in range(count)]
    for number, identity in enumerate(made):
        base: dict[str, Any] = {
            "tenant_id": ledger.tenant,
            "id": identity,
            "external_id": str(identity),
            "email": f"{identity}@example.com",
            "phone": f"+1415{number:07d}",
        }
        await ledger.insert("contacts", **(base | columns))
    return made


async def add_template(ledger: Ledger, content: dict[str, Any]) -> UUID:
    """A template with one version."""
    identity = uuid4()
    base = {"tenant_id": ledger.tenant}
    whole = {"channel": content["channel"], "default_locale": "en", "locales": {"en": content}}
    await ledger.insert(
        "templates", **base, id=identity, key=str(identity), channel=content["channel"], current_version=1
    )
    await ledger.insert(
        "template_versions", **base, template_id=identity, version=1, content=Jsonb(whole), content_hash=b""
    )
    return identity


async def add_run(
    ledger: Ledger,
    *,
    definition: dict[str, Any] | None = None,
    contents: Sequence[dict[str, Any]] = (EMAIL,),
    **columns: Any,
) -> UUID:
    """A campaign's first run, due now and not prepared yet, of one variant a content."""
    channel = contents[0]["channel"]
    said: dict[str, Any] = {"channel": channel, "audience": {"all": True}}
    if len(contents) == 1:
        said["template"] = "news"
    else:
        said["variants"] = [{"name": f"v{place}", "template": f"t{place}"} for place in range(len(contents))]
    frozen = FrozenRun(
        definition=CampaignDefinition.model_validate(said | (definition or {})),
        contents=tuple(
            [
                FrozenContent(
                    name=f"v{place}", weight=1, template_id=await add_template(ledger, one), template_version=1
                )
                for place, one in enumerate(contents)
            ]
        ),
    )
    campaign = uuid4()
    run = ids.run_id(campaign=campaign, number=1)
    now = (await ledger.execute("SELECT waypost_now() AS now"))[0]["now"]
    base: dict[str, Any] = {"tenant_id": ledger.tenant, "mode": "test", "state": "scheduled"}
    base["definition"] = Jsonb(frozen.model_dump(mode="json"))
    await ledger.insert("campaigns", **base, id=campaign, key=str(campaign), name="News", last_run=1)
    base |= {"id": run, "campaign_id": campaign, "number": 1, "kind": "first", "channel": channel}
    base |= {"sender_id": ledger.sender, "account_id": ledger.account, "scheduled_at": now}
    await ledger.insert("campaign_runs", **(base | columns))
    return run


async def freeze_all(
    relay: Database,
    ledger: Ledger,
    run: UUID,
    *,
    audience: sql.Composable | None = None,
    exclude: sql.Composable | None = None,
    channel: Channel = Channel.EMAIL,
    **how: Any,
) -> tuple[int, int]:
    """Freeze the tenant's contacts as the run's recipients and let it send."""
    row = await run_row(ledger, run)
    templates = tuple((UUID(one["template_id"]), one["template_version"]) for one in row["definition"]["contents"])
    chosen: dict[str, Any] = {
        "due_at": row["scheduled_at"],
        "due_by_zone": {},
        "spread": timedelta(),
        "expires_in": timedelta(days=3),
        "first_share": 1.0,
        "weights": (1,) * len(templates),
        "rest_has_variant": True,
        "templates": templates,
    }
    every = sql.SQL("SELECT id FROM contacts WHERE tenant_id = {}").format(sql.Literal(ledger.tenant))
    async with relay.transaction() as connection:
        size, shards = await freeze(
            connection,
            tenant=ledger.tenant,
            run=run,
            channel=channel,
            audience=audience or every,
            exclude=exclude,
            how=Freeze(**(chosen | how)),
        )
        await set_prepared(
            connection,
            tenant=ledger.tenant,
            run=run,
            audience=size,
            shards=shards,
            state="sending",
            reason=None,
            decide_after=None,
        )
    return size, shards


async def run_row(ledger: Ledger, run: UUID) -> dict[str, Any]:
    """The run as it is."""
    return (await ledger.execute("SELECT * FROM campaign_runs WHERE id = %s", (run,)))[0]


async def campaign_state(ledger: Ledger, run: UUID) -> str:
    """What the run's campaign says of itself."""
    rows = await ledger.execute(
        "SELECT c.state FROM campaigns c JOIN campaign_runs r ON r.campaign_id = c.id WHERE r.id = %s", (run,)
    )
    return str(rows[0]["state"])


async def recipients(ledger: Ledger, run: UUID) -> list[dict[str, Any]]:
    """The run's rows, by id."""
    return await ledger.execute("SELECT * FROM messages WHERE run_id = %s ORDER BY id", (run,))


async def outcomes(ledger: Ledger, run: UUID) -> Counter[tuple[str | None, str | None]]:
    """How many recipients have which outcome, for which reason (of who waits: None, and why)."""
    return Counter(
        (row["outcome"], row["outcome_reason"] or row["hold_reason"]) for row in await recipients(ledger, run)
    )
