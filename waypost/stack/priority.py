"""A process's share of the machine's CPUs where they are all taken."""

import contextlib
import os
from pathlib import Path

_AUTOGROUP = "/proc/{pid}/autogroup"


def lower(pid: int, niceness: int) -> None:
    """Let a process of ours stand back by `niceness` (1 to 19, as `nice` counts); one that has gone is no error.

    Linux schedules each session as a group where its autogroup feature is on (sched(7)), and then the group's own
    niceness is what counts between processes of different sessions, as those of a stack are.
    """
    with contextlib.suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
    with contextlib.suppress(OSError):  # no such feature, or no permission: the process's own niceness is all there is
        Path(_AUTOGROUP.format(pid=pid)).write_text(str(niceness))
