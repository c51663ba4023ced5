"""What is said, and with which exit code, where a simulation cannot be."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import typer

from waypost.cli.journeys import INVALID, tell_checked
from waypost.journeys.validation import Checked
from waypost.simulation.errors import DocumentError, GivenError, SimulationError
from waypost.simulation.running import NotSettledError

_BAD = 2


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
