import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from tests.simulators.clients import Aws
from waypost.simulators.errors import ControlError
from waypost.simulators.faults import Fault, Faults, Subject
from waypost.simulators.running import RunningSimulator

AddFault = Callable[..., None]


def accepted(simulator: RunningSimulator, key: str) -> int:
    counts = {each["account"]: each["accepted"] for each in simulator.control.stats()["accepted_by_account"]}
    return int(counts.get(key, 0))


@pytest.mark.parametrize(
    ("kind", "code", "status", "in_log"),
    [
        ("throttle", "TooManyRequestsException", 429, 0),
        ("error_5xx", "InternalFailure", 500, 0),
        ("accept_then_5xx", "InternalFailure", 500, 1),
        ("credentials_expired", "ExpiredTokenException", 403, 0),
        ("quota", "LimitExceededException", 400, 0),
        ("sending_paused", "SendingPausedException", 400, 0),
    ],
)
def test_a_fault_answers_with_an_error(
    simulator: RunningSimulator, aws: Aws, fault: AddFault, kind: str, code: str, status: int, in_log: int
) -> None:
    fault(kind, account=aws.key)
    with pytest.raises(ClientError) as error:
        aws.send()
    assert error.value.response["Error"]["Code"] == code
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert accepted(simulator, aws.key) == in_log


@pytest.mark.parametrize(("kind", "in_log"), [("reset", 0), ("accept_then_reset", 1)])
def test_a_reset_closes_the_connection(
    simulator: RunningSimulator, aws: Aws, fault: AddFault, kind: str, in_log: int
) -> None:
    fault(kind, account=aws.key)
    with pytest.raises(ConnectionClosedError):
        aws.send()
    assert accepted(simulator, aws.key) == in_log


@pytest.mark.parametrize(("kind", "in_log"), [("hang", 0), ("accept_then_hang", 1), ("drip", 1)])
def test_a_hanging_call_ends_by_the_clients_own_time_out(
    simulator: RunningSimulator, fault: AddFault, kind: str, in_log: int
) -> None:
    client = Aws(simulator, f"AKIAHANG{kind}", timeout=0.2)
    fault(kind, account=client.key, ms=300)
    with pytest.raises(ReadTimeoutError):
        client.send()
    assert accepted(simulator, client.key) == in_log
    client.close()


def test_a_dripping_reply_gets_there_in_the_end(aws: Aws, fault: AddFault) -> None:
    fault("drip", account=aws.key, ms=1)
    assert aws.send()


def test_a_slow_call_is_accepted_at_once_and_answered_late(
    simulator: RunningSimulator, aws: Aws, fault: AddFault
) -> None:
    fault("slow", account=aws.key, ms=150)
    began = time.time()
    aws.send()
    assert time.time() - began > 0.14
    entry = next(each for each in simulator.control.log() if each["account"] == aws.key)
    assert entry["at"] - began < 0.1


def test_faults_choose_by_prefix_count_and_every_nth(simulator: RunningSimulator, aws: Aws, fault: AddFault) -> None:
    fault("throttle", account=aws.key, match="victim", every=2, count=1)
    outcomes = []
    for to in ("ada@example.com", *["victim@example.com"] * 6):
        try:
            aws.send(to)
            outcomes.append("ok")
        except ClientError:
            outcomes.append("no")
    assert outcomes == ["ok", "ok", "no", "ok", "ok", "ok", "ok"]
    (shown,) = simulator.control.faults_in_force()
    assert (shown["seen"], shown["hits"], shown["over"]) == (2, 1, True)


def test_an_error_code_can_be_chosen(aws: Aws, fault: AddFault) -> None:
    fault("credentials_expired", account=aws.key, code="UnrecognizedClientException")
    with pytest.raises(ClientError) as error:
        aws.send()
    assert error.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_a_bulk_entry_can_fail_alone(aws: Aws, fault: AddFault) -> None:
    fault("bulk_entry", account=aws.key, match="b@", status="TRANSIENT_FAILURE")
    entries: Any = [{"Destination": {"ToAddresses": [to]}} for to in ("a@e.example", "b@e.example")]
    template: Any = {"TemplateContent": {"Subject": "s", "Text": "t"}, "TemplateData": "{}"}
    answer = aws.ses.send_bulk_email(
        FromEmailAddress="s@s.example", DefaultContent={"Template": template}, BulkEmailEntries=entries
    )
    assert [each["Status"] for each in answer["BulkEmailEntryResults"]] == ["SUCCESS", "TRANSIENT_FAILURE"]


def test_events_of_chosen_attempts_and_kinds_are_dropped_for_good(aws: Aws, fault: AddFault) -> None:
    fault("drop_events", account=aws.key, attempts=["lost"])
    fault("drop_events", account=aws.key, kinds=["Send"], attempts=["half"])
    for tag in ("lost", "half", "whole"):
        aws.send(tag=tag)
    got = sorted((each["mail"]["tags"]["waypost_attempt"][0], each["eventType"]) for each in aws.events(3))
    assert got == [("half", "Delivery"), ("whole", "Delivery"), ("whole", "Send")]


def test_events_come_several_times(aws: Aws, fault: AddFault) -> None:
    fault("duplicate_events", account=aws.key, n=3)
    aws.send("silent+a@example.com")
    assert len({each["MessageId"] for each in aws.receive(3)}) == 1


def test_copies_may_have_ids_of_their_own(aws: Aws, fault: AddFault) -> None:
    fault("duplicate_events", account=aws.key, n=3, new_ids=True)
    aws.send("silent+a@example.com")
    assert len({each["MessageId"] for each in aws.receive(3)}) == 3


def test_events_are_shuffled_and_a_window_that_does_not_fill_leaves_in_time(aws: Aws, fault: AddFault) -> None:
    fault("shuffle_events", account=aws.key, window=8, ms=200)
    for number in range(5):
        aws.send("silent+a@example.com", tag=str(number))
    order = [each["mail"]["tags"]["waypost_attempt"][0] for each in aws.events(5)]
    assert sorted(order) == list("01234")
    assert order != list("01234")


def test_delayed_events_come_later(aws: Aws, fault: AddFault) -> None:
    fault("delay_events", account=aws.key, ms=200, kinds=["Send"])
    aws.send()
    assert [each["eventType"] for each in aws.events(2)] == ["Delivery", "Send"]


def test_a_stopped_feed_keeps_events_until_it_is_resumed(
    simulator: RunningSimulator, aws: Aws, fault: AddFault
) -> None:
    fault("stop_feed", account=aws.key)
    aws.send()
    simulator.control.wait_until(lambda stats: stats["events"]["held"] == 2)
    assert aws.events(1, seconds=0.1) == []
    simulator.control.faults()
    assert [each["eventType"] for each in aws.events(2)] == ["Send", "Delivery"]


def test_a_stopped_feed_resumes_by_itself_after_its_duration(aws: Aws, fault: AddFault) -> None:
    fault("stop_feed", account=aws.key, duration=0.3)
    aws.send()
    began = time.monotonic()
    assert len(aws.events(2)) == 2
    assert time.monotonic() - began > 0.15


def test_a_malformed_fault_is_refused_with_a_sentence(simulator: RunningSimulator) -> None:
    with pytest.raises(ControlError, match="probability"):
        simulator.control.add_fault(fault="throttle", probability=2)
    with pytest.raises(ControlError, match="select events"):
        simulator.control.add_fault(fault="throttle", kinds=["Send"])


def strikes(seed: int) -> list[bool]:
    faults = Faults(seed)
    (made,) = faults.add({"fault": "throttle", "probability": 0.5})
    assert isinstance(made, Fault)
    subject = Subject(provider="ses", account="a", recipients=("x",))
    return [faults.on_call(subject) is not None for _ in range(64)]


def test_dice_fall_the_same_way_for_the_same_seed() -> None:
    assert strikes(7) == strikes(7)
    assert strikes(7) != strikes(8)
    assert 16 < sum(strikes(7)) < 48
