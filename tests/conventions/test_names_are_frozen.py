"""Running executions know these strings: a change strands them, so a change fails here first."""

from __future__ import annotations

from uuid import UUID

from temporalio import activity, workflow

from activities.campaigns import CampaignActivities
from activities.contracts.campaigns import Campaigning
from activities.contracts.journeys import Journeying
from activities.contracts.sending import SEND_ACTIVITY, Sending
from activities.journeys import JourneyActivities
from activities.sending import SendActivities
from waypost.messaging.values import Lane
from waypost.stack.temporal import SEARCH_ATTRIBUTES
from workflows import names
from workflows.campaign import CampaignWorkflow
from workflows.campaign_shard import CampaignShardWorkflow
from workflows.journey import JourneyWorkflow
from workflows.message import MessageWorkflow

TENANT = UUID("11111111-1111-4111-8111-111111111111")


def test_workflow_activity_and_signal_names() -> None:
    definition = workflow._Definition.must_from_class(MessageWorkflow)
    assert definition.name == names.MESSAGE_WORKFLOW == "message"
    assert set(definition.signals) == {names.DELIVERED_SIGNAL} == {"delivery-changed"}
    assert not definition.queries
    assert not definition.updates
    for method in (Sending.send, SendActivities.send):
        assert activity._Definition.must_from_callable(method).name == SEND_ACTIVITY == "send"


def test_names_of_a_campaign() -> None:
    run, shard = (workflow._Definition.must_from_class(each) for each in (CampaignWorkflow, CampaignShardWorkflow))
    assert run.name == names.CAMPAIGN_WORKFLOW == "campaign"
    assert shard.name == names.CAMPAIGN_SHARD_WORKFLOW == "campaign-shard"
    for definition in (run, shard):
        assert set(definition.signals) == {names.WAKE_SIGNAL} == {"wake"}
        assert not definition.queries
        assert not definition.updates
    for step, name in (
        ("prepare", "campaign-prepare"),
        ("page", "campaign-page"),
        ("decide", "campaign-decide"),
        ("complete", "campaign-complete"),
    ):
        for owner in (Campaigning, CampaignActivities):
            assert activity._Definition.must_from_callable(getattr(owner, step)).name == name


def test_names_of_a_journey() -> None:
    definition = workflow._Definition.must_from_class(JourneyWorkflow)
    assert definition.name == names.JOURNEY_WORKFLOW == "journey"
    assert set(definition.signals) == {names.WAKE_SIGNAL} == {"wake"}
    assert not definition.queries
    assert not definition.updates
    for step, name in (("decide", "journey-decide"), ("webhook", "journey-webhook")):
        for owner in (Journeying, JourneyActivities):
            assert activity._Definition.must_from_callable(getattr(owner, step)).name == name


def test_search_attributes_and_that_the_dev_server_has_them_and_no_others() -> None:
    keys = [names.TENANT_ATTRIBUTE, names.KIND_ATTRIBUTE, names.SOURCE_ATTRIBUTE, names.STATE_ATTRIBUTE]
    assert [(key.name, key.indexed_value_type.name) for key in keys] == [
        ("WaypostTenant", "KEYWORD"),
        ("WaypostKind", "KEYWORD"),
        ("WaypostSource", "KEYWORD"),
        ("WaypostState", "KEYWORD"),
    ]
    assert {key.name for key in keys} == set(SEARCH_ATTRIBUTES)


def test_ids_and_queues() -> None:
    assert names.message_workflow_id(TENANT) == "message/11111111-1111-4111-8111-111111111111"
    assert names.campaign_workflow_id(TENANT) == "campaign/11111111-1111-4111-8111-111111111111"
    assert names.shard_workflow_id(TENANT, 3) == "campaign/11111111-1111-4111-8111-111111111111/shard-3"
    own = names.task_queue(placement=names.OWN_PLACEMENT, tenant=TENANT, lane=Lane.FAST)
    assert own == "tenant-11111111-1111-4111-8111-111111111111/fast"
    assert names.task_queue(placement="pool-03", tenant=TENANT, lane=Lane.BULK) == "pool-03/bulk"
