"""What a campaign's definition refuses: who waits for a decision must not have expired by then."""

from typing import Any

import pytest
from pydantic import ValidationError

from waypost.campaigns.definition import CampaignDefinition

VARIANTS = [{"name": "a", "template": "a"}, {"name": "b", "template": "b"}]


def read(**fields: Any) -> CampaignDefinition:
    return CampaignDefinition.model_validate({"channel": "email", "audience": {"all": True}, **fields})


@pytest.mark.parametrize(
    ("fields", "field", "bound"),
    [
        ({"template": "a", "canary": {"after": "PT2H"}, "expires_in": "PT1H"}, ("canary", "after"), 3_600),
        ({"template": "a", "canary": {}, "expires_in": "PT30M"}, ("canary", "after"), 1_800),
        ({"variants": VARIANTS, "winner": {"after": "P4D"}}, ("winner", "after"), 259_200),
        ({"variants": VARIANTS, "winner": {}, "expires_in": "PT4H"}, ("winner", "after"), 14_400),
    ],
)
def test_a_decision_when_the_rest_has_expired_is_refused_with_field_bound_and_advice(
    fields: dict[str, Any], field: tuple[str, str], bound: float
) -> None:
    with pytest.raises(ValidationError) as refused:
        read(**fields)
    (error,) = refused.value.errors()
    assert (error["loc"], error["ctx"]["bound"]) == (field, bound)
    assert f"{'.'.join(field)} less than expires_in" in error["msg"]


def test_a_decision_before_that_is_taken_and_one_by_hand_has_no_time() -> None:
    assert read(template="a", canary={"after": "PT59M"}, expires_in="PT1H").canary is not None
    assert read(variants=VARIANTS, winner={"by": "manual"}, expires_in="PT1H").winner is not None
