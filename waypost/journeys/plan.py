"""What workflow code may see of a journey: step ids, kinds and edges. Everything else stays in the document."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from waypost.journeys.document import Journey
from waypost.journeys.graph import edges_of

MAX_PLAN_BYTES = 4_096


class PlanStep(BaseModel):
    """A step's kind, and where each of its edges leads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    edges: Mapping[str, str]


class Plan(BaseModel):
    """The compiled journey."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: str
    steps: Mapping[str, PlanStep]


def compile_plan(journey: Journey) -> Plan:
    """The plan of a journey that is valid. Edges of choices and ways are their places: `0`, `1`, …"""
    return Plan(
        start=journey.start,
        steps={
            step_id: PlanStep(kind=step.kind, edges={edge.key: edge.to for edge in edges_of(step)})
            for step_id, step in journey.steps.items()
        },
    )


def write_plan(plan: Plan) -> bytes:
    """The plan as compact JSON: `{"start": id, "steps": {id: [kind, {edge: id}]}}`."""
    steps: dict[str, Any] = {step_id: [step.kind, dict(step.edges)] for step_id, step in plan.steps.items()}
    return json.dumps({"start": plan.start, "steps": steps}, separators=(",", ":")).encode()


def read_plan(text: bytes | str) -> Plan:
    """What `write_plan` wrote. Raises ValueError for anything else."""
    try:
        said = json.loads(text)
        steps = {step_id: PlanStep(kind=kind, edges=edges) for step_id, (kind, edges) in said["steps"].items()}
        return Plan(start=said["start"], steps=steps)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a plan") from error
