"""What is different between two versions of a journey, step by step."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from waypost.journeys.document import Journey, write_journey


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field that is another, was added or is gone. `step` is None for what holds for the whole journey."""

    what: Literal["added", "removed", "changed"]
    step: str | None
    field: str
    before: Any = None
    after: Any = None

    def as_json(self) -> dict[str, Any]:
        """The difference for machines."""
        return {
            "what": self.what,
            "step": self.step,
            "field": self.field,
            "before": self.before,
            "after": self.after,
        }


def differences(before: Journey, after: Journey) -> tuple[Difference, ...]:
    """All of them: the journey's own fields first, then steps in the order of their ids. Defaults are as if written."""
    old, new = write_journey(before), write_journey(after)
    old_steps, new_steps = old.pop("steps"), new.pop("steps")
    found = list(_fields(None, old, new))
    for step_id in sorted(old_steps.keys() | new_steps.keys()):
        if step_id not in new_steps:
            found.append(Difference(what="removed", step=step_id, field="", before=old_steps[step_id]))
        elif step_id not in old_steps:
            found.append(Difference(what="added", step=step_id, field="", after=new_steps[step_id]))
        else:
            found += _fields(step_id, old_steps[step_id], new_steps[step_id])
    return tuple(found)


def _fields(step: str | None, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield Difference(what="removed", step=step, field=name, before=old[name])
        elif name not in old:
            yield Difference(what="added", step=step, field=name, after=new[name])
        elif old[name] != new[name]:
            yield Difference(what="changed", step=step, field=name, before=old[name], after=new[name])
