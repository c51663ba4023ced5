"""What the processes of a stack cost: CPU, memory, threads."""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

_NAMES = {
    "worker.py --lanes fast": "worker fast",
    "worker.py --lanes bulk": "worker bulk",
    "server start-dev": "temporal",
    "waypost.simulators": "simulators",
    "main ingest": "ingest",
    "main api": "api",
    "waypost.bench.feedback_control": "one transaction an event",
    "waypost.bench.bare_loop": "bare loop",
    "waypost.bench.procrastinate": "procrastinate",
    "waypost.bench.bare": "bare worker",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """One process, or several of one name together. CPU in seconds since start, memory in bytes."""

    cpu_s: float
    rss: int
    threads: int


def footprints(supervisor: int, *more: int) -> Mapping[str, Footprint]:
    """The processes under a stack's supervisor, and `more`, by name; ids are the system's."""
    found: dict[str, Footprint] = {}
    for process in [*psutil.Process(supervisor).children(recursive=True), *map(psutil.Process, more)]:
        try:
            name = _name(" ".join(process.cmdline()))
            used = process.cpu_times()
            here = Footprint(
                cpu_s=used.user + used.system, rss=process.memory_info().rss, threads=process.num_threads()
            )
        except psutil.Error:
            continue
        if name is not None:
            found[name] = _together(found.get(name), here)
    return found


def cpu_between(before: Mapping[str, Footprint], after: Mapping[str, Footprint]) -> dict[str, float]:
    """CPU seconds by name."""
    none = Footprint(cpu_s=0, rss=0, threads=0)
    return {name: round(after[name].cpu_s - before.get(name, none).cpu_s, 3) for name in after}


def _together(one: Footprint | None, other: Footprint) -> Footprint:
    if one is None:
        return other
    return Footprint(cpu_s=one.cpu_s + other.cpu_s, rss=one.rss + other.rss, threads=one.threads + other.threads)


def _name(command: str) -> str | None:
    if command.startswith("postgres") or "bin/postgres" in command:
        return "postgres"
    return next((name for part, name in _NAMES.items() if part in command), None)
