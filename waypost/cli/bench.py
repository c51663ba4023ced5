"""`waypost bench`: throughput, latency and footprint, each against a control in the same run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from waypost.bench import campaign, claim, events, feedback, importing, journeys, tenants, transactional
from waypost.drills.report import Report, show

app = typer.Typer(no_args_is_help=True, help="Measure against a control in the same run; exit 0 only within bounds.")

ReportFile = Annotated[Path | None, typer.Option("--report", help="Write the figures and checks as JSON.")]
Data = Annotated[Path | None, typer.Option("--data", help="A running stack's folder; without it one is started.")]

_console = Console()


@app.command("transactional")
def run_transactional(
    report: ReportFile = None,
    data: Data = None,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Interleaved rounds of both arms.")] = 5,
    count: Annotated[int, typer.Option(min=10, max=100_000, help="Messages a round and arm.")] = 600,
    at_once: Annotated[int, typer.Option(min=1, max=256, help="Requests at a time.")] = 32,
    idle: Annotated[int, typer.Option(min=10, max=5000, help="Messages sent one at a time, for the p50.")] = 100,
) -> None:
    """One message a request and an execution, against bare Temporal with a no-op activity."""
    plan = transactional.Plan(rounds=rounds, count=count, at_once=at_once, idle=idle)
    _finish(transactional.run(data, plan, _tell), report)


@app.command("tenants")
def run_tenants(
    report: ReportFile = None,
    count: Annotated[int, typer.Option("--tenants", min=2, max=1000, help="Tenants, each with its own queues.")] = 300,
    messages: Annotated[int, typer.Option(min=100, max=100_000, help="Messages a round, over all queues.")] = 900,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Interleaved rounds of both arms.")] = 3,
) -> None:
    """Many tenants in one process a lane, against bare Temporal on the same number of Workers."""
    _finish(tenants.run(tenants.Plan(tenants=count, messages=messages, rounds=rounds), _tell), report)


@app.command("campaign")
def run_campaign(
    report: ReportFile = None,
    data: Data = None,
    recipients: Annotated[int, typer.Option(min=100, max=1_000_000, help="Of the campaign.")] = 50_000,
    million: Annotated[bool, typer.Option("--million", help="And one of 1,000,000, compared with the first.")] = False,
) -> None:
    """A campaign, against a bare loop of send_bulk_email and against Procrastinate with boto3."""
    plan = campaign.Plan(recipients=recipients, million=1_000_000 if million else None)
    _finish(campaign.run(data, plan, _tell), report)


@app.command("claim")
def run_claim(
    report: ReportFile = None,
    messages: Annotated[int, typer.Option(min=10_000, max=20_000_000, help="In the large ledger.")] = 5_000_000,
    sent: Annotated[int, typer.Option(min=0, max=2_000_000, help="Recipients under the open transaction.")] = 300_000,
    claims: Annotated[int, typer.Option(min=20, max=100_000, help="Of each kind, an arm.")] = 1_500,
) -> None:
    """A claim in a large ledger, and under a long transaction, against one in a ledger of 10,000."""
    _finish(claim.run(claim.Plan(messages=messages, sent=sent, claims=claims), _tell), report)


@app.command("import")
def run_import(
    report: ReportFile = None,
    rows: Annotated[int, typer.Option(min=1_000, max=10_000_000, help="Of the file.")] = 1_000_000,
) -> None:
    """A file of contacts: memory, speed, and a killed run against a clean one. On a stack of its own."""
    _finish(importing.run(rows, _tell), report)


@app.command("feedback")
def run_feedback(
    report: ReportFile = None,
    data: Data = None,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Interleaved rounds of both arms.")] = 3,
    messages: Annotated[int, typer.Option(min=100, max=200_000, help="A round; each has two events.")] = 10_000,
    steady: Annotated[float, typer.Option(min=2, max=3600, help="Seconds of live events, for the lag.")] = 30,
) -> None:
    """Provider events from the queue to the ledger, against one route and one transaction an event."""
    plan = feedback.Plan(rounds=rounds, messages=messages, control_messages=max(100, messages // 5), steady_s=steady)
    _finish(feedback.run(data, plan, _tell), report)


@app.command("events")
def run_events(
    report: ReportFile = None,
    data: Data = None,
    contacts: Annotated[int, typer.Option(min=1_000, max=5_000_000, help="Of the tenant.")] = 100_000,
    waiting: Annotated[int, typer.Option(min=10, max=10_000, help="Of them, for one of the events.")] = 1_000,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Interleaved rounds of both arms.")] = 5,
    batches: Annotated[int, typer.Option(min=2, max=1_000, help="A round, of 500 events.")] = 60,
    wakes: Annotated[int, typer.Option(min=20, max=100_000, help="Of each load.")] = 1_500,
) -> None:
    """Contacts' events against a bare INSERT of their rows, and how soon they wake who waits for them."""
    plan = events.Plan(contacts=contacts, waiting=waiting, rounds=rounds, batches=batches, wakes=wakes)
    _finish(events.run(data, plan, _tell), report)


@app.command("journeys")
def run_journeys(
    report: ReportFile = None,
    data: Data = None,
    enrollments: Annotated[int, typer.Option(min=20, max=100_000, help="That wait for one moment.")] = 10_000,
) -> None:
    """Enrollments that wait: the worker's memory, and how fast they go on, against bare timers with an activity."""
    _finish(journeys.run(data, journeys.Plan(enrollments=enrollments), _tell), report)


def _tell(what: str) -> None:
    _console.print(f"[dim]… {what}[/]", highlight=False)


def _finish(found: Report, report: Path | None) -> None:
    show(found, _console)
    if report is not None:
        found.write(report)
        _console.print(f"[dim]written to {report}[/]", highlight=False)
    raise typer.Exit(0 if found.passed else 1)
