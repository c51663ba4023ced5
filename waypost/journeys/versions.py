"""From one version of a journey to another: where those go on who are in the one before."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from waypost.journeys.document import Journey, OnNewVersion, write_journey
from waypost.journeys.problems import Problem, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """From a step to one of the other version. `stays`: it is the same step, and its rest goes on as it is."""

    to: str
    stays: bool


def ways_between(before: Journey, after: Journey, moves: Mapping[str, str]) -> Mapping[str, Way | None]:
    """Where each step of `before` leads: where `moves` says, else to the step of its id; None where there is none."""
    return {step: _way(step, before, after, moves) for step in before.steps}


def _way(step: str, before: Journey, after: Journey, moves: Mapping[str, str]) -> Way | None:
    to = moves.get(step, step)
    if to not in after.steps:
        return None
    return Way(to=to, stays=to == step and before.steps[step].kind == after.steps[step].kind)


def says_the_same(one: Journey, other: Journey) -> bool:
    """Whether nothing but how it is written is different. As text: to Python, 1 and true are the same."""
    return _as_text(one) == _as_text(other)


def _as_text(journey: Journey) -> str:
    return json.dumps(write_journey(journey), sort_keys=True)


def move_problems(before: Journey, after: Journey) -> Iterator[Problem]:
    """Steps of the version before that a new one which moves people has no place for."""
    if after.on_new_version is not OnNewVersion.MOVE or says_the_same(before, after):
        return
    for step, way in ways_between(before, after, after.moves).items():
        if way is None:
            said = f"The version before has a step {step}, and this one has none for those who are there."
            near = did_you_mean(step, after.steps)
            hint = f"{near} Say so in moves" if near else f"name a step of this version: moves: {{{step}: …}}"
            yield Problem(code="missing_move", message=said, step=step, path=("moves",), suggestion=hint)
    for step in after.moves.keys() - before.steps.keys():
        said = f"The version before has no step {step}."
        near = did_you_mean(step, before.steps)
        yield Problem(code="unknown_step", message=said, path=("moves", step), suggestion=near)
