"""Processes that a measurement starts beside itself."""

import subprocess
from typing import Any

_GRACE_S = 20.0


def stop(process: "subprocess.Popen[Any]") -> None:
    """Have it end, and see that it has."""
    process.terminate()
    try:
        process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
