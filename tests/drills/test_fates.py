"""What every arm of a drill, and its control, must face."""

from waypost.drills.fates import fates
from waypost.messaging.audit import Acceptance


def accepted(recipient: str, content: str = "c") -> Acceptance:
    return Acceptance(number=0, attempt_id=None, provider_message_id=None, recipient=recipient, content=content)


def test_what_the_provider_never_had_is_lost_and_the_same_content_twice_is_a_duplicate() -> None:
    found = fates(["a", "b", "c"], [accepted("a"), accepted("b"), accepted("b"), accepted("stranger")])
    assert (found.asked, found.arrived) == (3, 2)
    assert (found.lost, found.duplicated) == (frozenset({"c"}), frozenset({"b"}))
    assert [check.ok for check in found.checks("waypost")] == [False, False]


def test_two_contents_for_one_recipient_are_no_duplicate() -> None:
    found = fates(["a"], [accepted("a", "1"), accepted("a", "2")])
    assert all(check.ok for check in found.checks("waypost"))
