"""The drills' adapters: where they kill, and that they find the product's statements."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest

from waypost.drills.fault_points import API_POINTS, INGEST_POINTS, JOURNEY_POINTS, FaultPoint, FaultPoints
from waypost.drills.killing import AROUND_COMMIT, around_commit, killing
from waypost.messaging.provider import BulkSender, ProviderReply, RenderedMessage, ReplyKind
from waypost.messaging.values import Channel
from waypost.store import attempts, events, journey_walks, journey_webhooks, messages


def statements(module: ModuleType) -> Iterator[str]:
    return (value for name, value in vars(module).items() if name.startswith("_") and isinstance(value, str))


@pytest.mark.parametrize(
    ("module", "point"),
    [
        (attempts, FaultPoint.BEFORE_CLAIM_COMMIT),
        (attempts, FaultPoint.BEFORE_RECORD_COMMIT),
        (journey_walks, FaultPoint.BEFORE_DECISION_COMMIT),
        (journey_webhooks, FaultPoint.BEFORE_ANSWER_COMMIT),
        (messages, FaultPoint.BEFORE_ACCEPT_COMMIT),
        (events, FaultPoint.BEFORE_STORE_COMMIT),
        (events, FaultPoint.BEFORE_APPLY_COMMIT),
    ],
)
def test_each_commit_that_matters_is_known_by_its_statement(module: ModuleType, point: FaultPoint) -> None:
    found = [before for statement in statements(module) for before, _ in around_commit(statement)]
    assert point in found


def test_every_point_around_a_commit_is_one_of_its_process() -> None:
    around = {point for points in AROUND_COMMIT.values() for point in points}
    assert around < {*JOURNEY_POINTS, *API_POINTS, *INGEST_POINTS}


def test_a_process_dies_at_an_armed_point_and_only_there(tmp_path: Path) -> None:
    points = FaultPoints(tmp_path)
    points.arm(FaultPoint.AFTER_REPLY)
    code = (
        "import sys; from pathlib import Path; from waypost.drills.fault_points import FaultPoint, FaultPoints\n"
        "points = FaultPoints(Path(sys.argv[1]))\n"
        "points.reach(FaultPoint.AFTER_CLAIM_COMMIT); print('alive', flush=True)\n"
        "points.reach(FaultPoint.AFTER_REPLY); print('still alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "alive\n")
    assert not points.is_armed(FaultPoint.AFTER_REPLY)
    assert points.hits() == {FaultPoint.AFTER_REPLY: 1}


def test_a_point_that_was_disarmed_in_time_was_not_hit(tmp_path: Path) -> None:
    points = FaultPoints(tmp_path)
    points.arm(FaultPoint.AFTER_REPLY)
    assert points.disarm(FaultPoint.AFTER_REPLY)
    assert not points.disarm(FaultPoint.AFTER_REPLY)
    points.reach(FaultPoint.AFTER_REPLY)
    assert not points.hits()


class Sent:
    """A sender that takes one message at a time."""

    def send(self, message: RenderedMessage, /) -> ProviderReply:
        return ProviderReply(kind=ReplyKind.ACCEPTED, provider_message_id=str(message.attempt_id))

    def close(self) -> None:
        pass


class SentInBulk(Sent):
    """One that takes many."""

    def bulk_key(self, message: RenderedMessage, /) -> str:
        return message.from_address

    def send_bulk(self, messages: Sequence[RenderedMessage], /) -> list[ProviderReply]:
        return [self.send(message) for message in messages]


def test_a_drilled_sender_takes_bulk_calls_only_if_the_products_does_and_passes_the_same_points(tmp_path: Path) -> None:
    message = RenderedMessage(attempt_id=uuid4(), channel=Channel.EMAIL, to="a@x.example", from_address="b@x.example")
    reached: list[FaultPoint] = []

    class Points(FaultPoints):
        def reach(self, point: FaultPoint) -> None:
            reached.append(point)

    alone, many = killing(Sent(), Points(tmp_path)), killing(SentInBulk(), Points(tmp_path))
    assert not isinstance(alone, BulkSender)
    assert isinstance(many, BulkSender)
    assert many.bulk_key(message) == "b@x.example"
    assert many.send_bulk([message, message]) == [alone.send(message)] * 2
    assert reached == [FaultPoint.AFTER_REPLY] * 2
