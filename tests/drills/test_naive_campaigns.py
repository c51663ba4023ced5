"""The control of duplicate-watchdog is no straw man: calm, it does its job; its watchdog does what such do."""

from pathlib import Path

import pytest

from waypost.drills.fates import fates
from waypost.drills.naive import open_ses
from waypost.drills.naive_campaigns import BATCH, Campaigns, CampaignWorker
from waypost.messaging.provider_log import acceptance
from waypost.simulators.running import RunningSimulator

KEY = "NAIVECAMPAIGNS"


@pytest.fixture
def campaigns(tmp_path: Path) -> Campaigns:
    return Campaigns(tmp_path / "campaigns.db")


def test_when_calm_every_recipient_is_sent_to_once(campaigns: Campaigns, simulator: RunningSimulator) -> None:
    recipients = [f"calm-{number}@naive-campaigns.test" for number in range(BATCH + 5)]
    worker = CampaignWorker(campaigns, open_ses(endpoint=simulator.url, key=KEY))
    campaigns.add(recipients)
    assert worker.step()
    assert not worker.step()
    found = fates(recipients, (acceptance(entry, 0) for entry in simulator.control.log()))
    assert (campaigns.unfinished(), found.lost, found.duplicated) == (0, frozenset(), frozenset())


def test_a_campaign_is_taken_by_one_worker_until_the_watchdog_queues_it_again(campaigns: Campaigns) -> None:
    campaign = campaigns.add(["somebody@naive-campaigns.test"])
    assert campaigns.take() == campaign
    assert campaigns.take() is None
    campaigns.requeue_unsent(60)
    assert campaigns.take() is None
    campaigns.requeue_unsent(-1)
    assert campaigns.take() == campaign


def test_a_recipient_marked_sent_is_in_no_further_batch(campaigns: Campaigns) -> None:
    campaign = campaigns.add(["one@naive-campaigns.test", "two@naive-campaigns.test"])
    campaigns.mark_sent(campaigns.unsent(campaign)[:1])
    assert [each.address for each in campaigns.unsent(campaign)] == ["two@naive-campaigns.test"]
