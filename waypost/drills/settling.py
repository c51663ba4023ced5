"""Waiting until a ledger is at rest."""

from waypost.drills.running import Narrator
from waypost.drills.staging import Staging
from waypost.drills.waiting import until
from waypost.store.audit import LedgerCounts, ledger_counts

_POLL_S = 0.25


async def until_settled(staging: Staging, *, patience_s: float, narrator: Narrator) -> LedgerCounts:
    """The counts once every message has its outcome and no attempt is undecided, or when patience is over."""

    async def settled() -> bool:
        counts = await staging.read(ledger_counts)
        narrator.progress(counts.messages - counts.without_outcome, counts.messages)
        return counts.messages > 0 and counts.without_outcome == 0 and counts.undecided == 0

    await until(settled, patience_s=patience_s, every_s=_POLL_S)
    return await staging.read(ledger_counts)
