"""From a run and a recipient to the gate's facts."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from waypost.campaigns.frozen import FrozenRun
from waypost.messaging.gate import GateFacts, SendingRules, TopicFacts
from waypost.messaging.rules import FrequencyCap, QuietHours
from waypost.messaging.values import (
    AccountState,
    Channel,
    MessageClass,
    RunState,
    Subscription,
    SuppressionReason,
    TenantState,
)
from waypost.store.campaign_pages import LoadedRun, Recipient


@dataclass(frozen=True, slots=True)
class RunRules:
    """What the verdicts on all recipients of a run rest on; made once a page."""

    run: LoadedRun
    frozen: FrozenRun
    rules: SendingRules
    caps: tuple[FrequencyCap, ...]
    """The tenant's: those that a campaign ignores are counted against all the same."""
    tenant: TenantState
    account: AccountState
    state: RunState
    channel: Channel

    @classmethod
    def of(cls, run: LoadedRun) -> "RunRules":
        """The tenant's rules, without those that the campaign may ignore."""
        frozen = FrozenRun.model_validate(run.definition)
        definition = frozen.definition
        caps = tuple(FrequencyCap.model_validate(cap) for cap in run.frequency_caps)
        quiet = None if definition.ignore_quiet_hours or run.quiet_hours is None else run.quiet_hours
        return cls(
            run=run,
            frozen=frozen,
            rules=SendingRules(
                zone=run.tenant_time_zone,
                quiet_hours=QuietHours.model_validate(quiet) if quiet else None,
                window=definition.schedule.window,
                caps=() if definition.ignore_frequency_caps else caps,
            ),
            caps=caps,
            tenant=TenantState(run.tenant_state),
            account=AccountState(run.account_state),
            state=RunState(run.state),
            channel=Channel(run.channel),
        )

    def facts(self, recipient: Recipient) -> GateFacts:
        """What the verdict on one recipient rests on."""
        run, schedule = self.run, self.frozen.definition.schedule
        return GateFacts(
            now=run.now,
            due_at=recipient.due_at,
            expires_at=recipient.expires_at,
            meant_for=self._meant_for(recipient),
            cancel_requested=recipient.cancel_requested,
            message_class=MessageClass.MARKETING,
            tenant=self.tenant,
            late_policy=schedule.late_policy or run.late_policy,
            late_after=schedule.late_after or run.late_after,
            account=self.account,
            suppression=SuppressionReason(recipient.suppression) if recipient.suppression else None,
            consent=recipient.consent,
            contact_deleted=recipient.contact_deleted,
            run=self.state,
            topic=self._topic(recipient),
            rules=self.rules,
            zone=recipient.time_zone,
            channel=self.channel,
            sent_at=recipient.sent_at or (),
            sent_at_any=recipient.cap_sent_at or (),
        )

    def _meant_for(self, recipient: Recipient) -> datetime:
        """Who waited for a canary or a winner is not late by that, nor is whose turn a throttle put off."""
        run = self.run
        moments = [recipient.send_at, recipient.late_approved_at, run.released_at if recipient.cohort > 0 else None]
        meant_for = max(moment for moment in moments if moment is not None)
        if run.throttle_per_minute is None:
            return meant_for
        return meant_for + timedelta(minutes=run.audience / run.throttle_per_minute)

    def _topic(self, recipient: Recipient) -> TopicFacts | None:
        if self.run.topic_id is None:
            return None
        subscription = Subscription(recipient.subscription) if recipient.subscription else None
        return TopicFacts(opt_in=bool(self.run.topic_opt_in), subscription=subscription)
