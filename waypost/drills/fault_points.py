"""Where a process can be killed, and how one is told to: by a file that it renames, and then it is gone.

The controller arms a point by making a file; the process that reaches the point first renames it, which succeeds for
one only, and kills itself. The renamed file outlives it and is the record of the hit.
"""

import os
import signal
import time
from collections import Counter
from enum import StrEnum
from pathlib import Path


class FaultPoint(StrEnum):
    """The moments at which a kill matters. The first six are around a provider call."""

    BEFORE_CLAIM_COMMIT = "before-claim-commit"
    AFTER_CLAIM_COMMIT = "after-claim-commit"
    AFTER_REQUEST_WRITTEN = "after-request-written"
    AFTER_REPLY = "after-reply"
    BEFORE_RECORD_COMMIT = "before-record-commit"
    AFTER_RECORD_COMMIT = "after-record-commit"
    BEFORE_DECISION_COMMIT = "before-decision-commit"
    AFTER_DECISION_COMMIT = "after-decision-commit"
    BEFORE_ANSWER_COMMIT = "before-answer-commit"
    AFTER_ANSWER_COMMIT = "after-answer-commit"
    BEFORE_ACCEPT_COMMIT = "before-accept-commit"
    AFTER_ACCEPT_COMMIT = "after-accept-commit"
    BEFORE_STORE_COMMIT = "before-store-commit"
    AFTER_STORE_COMMIT = "after-store-commit"
    BEFORE_APPLY_COMMIT = "before-apply-commit"
    AFTER_APPLY_COMMIT = "after-apply-commit"


P = FaultPoint
WORKER_POINTS = (
    P.BEFORE_CLAIM_COMMIT,
    P.AFTER_CLAIM_COMMIT,
    P.AFTER_REQUEST_WRITTEN,
    P.AFTER_REPLY,
    P.BEFORE_RECORD_COMMIT,
    P.AFTER_RECORD_COMMIT,
)
JOURNEY_POINTS = (
    *WORKER_POINTS,
    P.BEFORE_DECISION_COMMIT,
    P.AFTER_DECISION_COMMIT,
    P.BEFORE_ANSWER_COMMIT,
    P.AFTER_ANSWER_COMMIT,
)
"""Of a worker whose enrollments walk: also around each decision, and around what a webhook was answered."""

API_POINTS = (P.BEFORE_ACCEPT_COMMIT, P.AFTER_ACCEPT_COMMIT)
INGEST_POINTS = (P.BEFORE_STORE_COMMIT, P.AFTER_STORE_COMMIT, P.BEFORE_APPLY_COMMIT, P.AFTER_APPLY_COMMIT)

FOLDER_VARIABLE = "WAYPOST_DRILL_FAULTS"
"""Environment variable with the folder of a drilled process's points."""


class FaultPoints:
    """The points of one kind of process, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_this_process(cls) -> "FaultPoints":
        """Those of the folder that the environment names."""
        return cls(Path(os.environ[FOLDER_VARIABLE]))

    def arm(self, point: FaultPoint) -> None:
        """The next process to reach the point dies there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._armed(point).touch()

    def disarm(self, point: FaultPoint) -> bool:
        """Take it back; False when it has been hit meanwhile."""
        try:
            self._armed(point).unlink()
        except FileNotFoundError:
            return False
        return True

    def is_armed(self, point: FaultPoint) -> bool:
        """Whether nobody has reached it yet."""
        return self._armed(point).exists()

    def hits(self) -> Counter[FaultPoint]:
        """How often each point was hit."""
        return Counter(FaultPoint(hit.name.partition(".")[0]) for hit in self._folder.glob("*.hit.*"))

    def reach(self, point: FaultPoint) -> None:
        """Called by the process at the point: costs one failing system call, unless this is its end."""
        hit = self._folder / f"{point}.hit.{os.getpid()}.{time.monotonic_ns()}"
        try:
            self._armed(point).rename(hit)
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def _armed(self, point: FaultPoint) -> Path:
        return self._folder / f"{point}.armed"
