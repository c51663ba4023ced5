"""The control of dependency-outage: an API that starts the workflow inside the request, as tutorials do.

`python -m waypost.drills.naive_temporal --port … --temporal …`: one process with its worker; no database.
"""

import argparse
import asyncio
from datetime import timedelta

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from waypost.drills.naive import open_ses, send_email

_QUEUE = "naive"


class NaiveSend:
    """One email, by boto3."""

    def __init__(self, *, endpoint: str, key: str) -> None:
        self._ses = open_ses(endpoint=endpoint, key=key)

    @activity.defn(name="naive-send")
    async def send(self, recipient: str) -> None:
        """Send it; Temporal repeats what fails."""
        await asyncio.to_thread(send_email, self._ses, recipient)


@workflow.defn(name="naive-message")
class NaiveMessage:
    """One activity."""

    @workflow.run
    async def run(self, recipient: str) -> None:
        """Send it."""
        await workflow.execute_activity("naive-send", recipient, start_to_close_timeout=timedelta(minutes=1))


def create_app(client: Client) -> Starlette:
    """`POST /send {"to": …}`: 202 once the workflow is started."""

    async def send(request: Request) -> Response:
        recipient = (await request.json())["to"]
        await client.start_workflow("naive-message", recipient, id=f"naive/{recipient}", task_queue=_QUEUE)
        return JSONResponse({"id": recipient}, status_code=202)

    async def ready(_: Request) -> Response:
        return Response()

    return Starlette(routes=[Route("/send", send, methods=["POST"]), Route("/readyz", ready)])


async def run(*, port: int, temporal: str, endpoint: str, key: str) -> None:
    """Serve and work until killed."""
    client = await Client.connect(temporal)
    sender = NaiveSend(endpoint=endpoint, key=key)
    worker = Worker(
        client,
        task_queue=_QUEUE,
        workflows=[NaiveMessage],
        activities=[sender.send],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    config = uvicorn.Config(create_app(client), host="127.0.0.1", port=port, log_level="warning", access_log=False)
    async with worker:
        await uvicorn.Server(config).serve()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--temporal", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--key", required=True)
    given = parser.parse_args()
    asyncio.run(run(port=given.port, temporal=given.temporal, endpoint=given.endpoint, key=given.key))


if __name__ == "__main__":
    main()
