"""What a second run to those who were not reached keeps of its campaign."""

from waypost.campaigns.definition import CampaignDefinition, Schedule


def resend_definition(definition: CampaignDefinition, *, winner: int | None) -> CampaignDefinition:
    """The same content to fewer people, at once: no set time, no test of variants, no canary, no recurrence.

    `winner`: the variant that the run before it chose, which all of them get; None: the variants are drawn anew.
    """
    schedule = definition.schedule
    at_once = Schedule(
        throttle_per_minute=schedule.throttle_per_minute,
        window=schedule.window,
        late_policy=schedule.late_policy,
        late_after=schedule.late_after,
    )
    changes: dict[str, object] = {"schedule": at_once, "winner": None, "canary": None}
    if winner is not None:
        changes |= {"template": definition.contents[winner].template, "variants": ()}
    return CampaignDefinition.model_validate({**dict(definition), **changes})
