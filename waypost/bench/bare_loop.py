"""The bare loop: pre-rendered `send_bulk_email` calls of fifty, one after the other, in one process.

Nothing is recorded and nothing can be resumed: it is what the provider and boto3 alone allow.
`python -m waypost.bench.bare_loop --endpoint URL --key KEY --word WORD --count N [--slotted]` renders, says so with a
line, and sends when a line comes on its standard input.
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
from botocore.config import Config

from waypost.bench.newsletter import bulk_request, person

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client

CALL = 50


def open_ses(*, endpoint: str, key: str, connections: int = 10) -> "SESV2Client":
    """boto3 as its documentation has it, without its own repeats."""
    config = Config(retries={"total_max_attempts": 1}, proxies={}, max_pool_connections=connections)
    return boto3.client(
        "sesv2",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key="simulated",  # noqa: S106  a simulator takes any
        config=config,
    )


def requests(count: int, *, word: str, slotted: bool) -> list[dict[str, Any]]:
    """The calls, rendered."""
    made = []
    for first in range(0, count, CALL):
        people = [person(number, word=word) for number in range(first, min(first + CALL, count))]
        made.append(bulk_request(people, [str(uuid4()) for _ in people], whole=not slotted))
    return made


def main() -> None:
    """Render, wait for the word, send."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--word", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--slotted", action="store_true", help="one template a call and each recipient's values")
    given = parser.parse_args()
    ses = open_ses(endpoint=given.endpoint, key=given.key)
    calls = requests(given.count, word=given.word, slotted=given.slotted)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for call in calls:
        results = ses.send_bulk_email(**call)["BulkEmailEntryResults"]
        refused = [result for result in results if result.get("Status") != "SUCCESS"]
        if refused:
            raise SystemExit(f"the provider refused {len(refused)} of {len(results)}")


if __name__ == "__main__":
    main()
