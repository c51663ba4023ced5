"""Every saved history replays with today's code."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from tests.replay.saved import saved
from waypost.journeys.steps import Step as AnyStep
from waypost.temporal.client import DATA_CONVERTER
from workflows.campaign import CampaignWorkflow
from workflows.campaign_shard import CampaignShardWorkflow
from workflows.journey import JourneyWorkflow
from workflows.message import MessageWorkflow

WORKFLOWS = [MessageWorkflow, CampaignWorkflow, CampaignShardWorkflow, JourneyWorkflow]


def text_of(path: Path) -> str:
    return path.read_text()


async def replay(name: str, text: str) -> None:
    replayer = Replayer(workflows=WORKFLOWS, data_converter=DATA_CONVERTER)
    await replayer.replay_workflow(WorkflowHistory.from_json(name, text))


@pytest.mark.parametrize("path", saved(), ids=lambda path: path.stem)
async def test_a_saved_history_replays(path: Path) -> None:
    await replay(path.stem, text_of(path))


def test_the_paths_of_a_message_are_saved() -> None:
    assert {path.stem for path in saved()} >= {
        "message-plain",
        "message-again",
        "message-fallback-by-timer",
        "message-fallback-by-signal",
    }


def test_the_paths_of_a_campaign_are_saved() -> None:
    assert {path.stem for path in saved()} >= {
        "campaign-plain",
        "campaign-decides",
        "campaign-again",
        "campaign-shard-terminated",
        "campaign-shard-pages",
        "campaign-shard-waits",
        "campaign-shard-held",
    }


def test_the_paths_of_a_journey_and_every_kind_of_step_are_saved() -> None:
    paths = {"plain", "woken", "send-again", "moved", "continued", "again"}
    kinds = {f"step-{get_args(step.model_fields['kind'].annotation)[0]}" for step in get_args(get_args(AnyStep)[0])}
    assert len(kinds) == 13
    assert {path.stem for path in saved()} >= {f"journey-{name}" for name in paths | kinds}


async def test_a_history_of_other_code_does_not_replay() -> None:
    """The control: the replayer notices a step that today's code does not take."""
    (path,) = [path for path in saved() if path.stem == "message-again"]
    changed = text_of(path).replace('"name": "send"', '"name": "other"')
    assert changed != text_of(path)
    with pytest.raises(NondeterminismError):
        await replay(path.stem, changed)
