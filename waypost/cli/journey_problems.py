"""How a command runs a simulation: stopped in order, and what is said, with which exit code, where it cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import typer

from waypost.cli.journeys import INVALID, tell_checked
from waypost.journeys.validation import Checked
from waypost.simulation.errors import DocumentError, GivenError, SimulationError
from waypost.simulation.running import NotSettledError

T = TypeVar("T")

_BAD = 2


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it; Ctrl-C and SIGTERM stop its servers in order before the command ends."""
    try:
        return asyncio.run(_stoppable(work))
    except (KeyboardInterrupt, asyncio.CancelledError) as stopped:
        raise typer.Exit(130 if isinstance(stopped, KeyboardInterrupt) else 143) from None


async def _stoppable(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


@contextlib.contextmanager
def refusing(command: str) -> Iterator[None]:
    """Exit code 1 with all problems of a document, 2 with each field that cannot be."""
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    try:
        yield
    except DocumentError as error:
        tell_checked(Path(error.source), Checked(journey=None, problems=error.problems), error=True)
        raise typer.Exit(INVALID) from None
    except GivenError as error:
        for one in error.found:
            typer.echo(f"waypost journeys {command}: {error.source}: {one}", err=True)
        raise typer.Exit(_BAD) from None
    except (SimulationError, NotSettledError, OSError) as error:
        typer.echo(f"waypost journeys {command}: {error}", err=True)
        raise typer.Exit(INVALID) from None
