"""`python -m waypost.simulators`: run the simulators by themselves."""

import argparse
import asyncio
import gc
import logging
from pathlib import Path

import uvloop

from waypost.simulators.server import serve_until, stop_on_signal
from waypost.simulators.simulator import SimulatorConfig


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    defaults = SimulatorConfig()
    parser = argparse.ArgumentParser(prog="python -m waypost.simulators", description=__doc__)
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--port", type=int, default=8025, help="0: any free port")
    parser.add_argument("--public-url", default=None, help="the origin clients use, if not http://HOST:PORT")
    parser.add_argument("--log", type=Path, default=None, help="the truth log; continued if it exists")
    parser.add_argument("--port-file", type=Path, default=None, help="write the URL here when listening")
    parser.add_argument("--latency-ms", type=float, default=defaults.latency_ms, help="from acceptance to reply")
    parser.add_argument("--event-delay-ms", type=float, default=defaults.event_delay_ms)
    parser.add_argument("--sqs-linger-ms", type=float, default=defaults.sqs_linger_ms)
    parser.add_argument("--sns-retry-seconds", type=float, default=defaults.sns_retry_seconds)
    parser.add_argument("--no-sign-sqs", action="store_true", help="leave the envelopes in queues unsigned")
    parser.add_argument("--inbox-size", type=int, default=defaults.inbox_size)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    return parser


async def run(config: SimulatorConfig, port_file: Path | None) -> None:
    """Run until SIGINT or SIGTERM."""
    await serve_until(stop_on_signal(), config, port_file=port_file)


def main() -> None:
    """Entry point."""
    given = arguments().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    config = SimulatorConfig(
        host=given.host,
        port=given.port,
        public_url=given.public_url,
        log_path=given.log,
        latency_ms=given.latency_ms,
        event_delay_ms=given.event_delay_ms,
        sqs_linger_ms=given.sqs_linger_ms,
        sns_retry_seconds=given.sns_retry_seconds,
        sign_sqs=not given.no_sign_sqs,
        inbox_size=given.inbox_size,
        seed=given.seed,
    )
    # Thousands of messages and events are held, and none in a circle: the collector need not walk them all the time.
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(config, given.port_file))


if __name__ == "__main__":
    main()
