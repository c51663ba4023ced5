"""Waiting for something to become true."""

import asyncio
from collections.abc import Awaitable, Callable

FOREVER = float("inf")


async def until(holds: Callable[[], Awaitable[bool]], *, patience_s: float, every_s: float = 0.05) -> bool:
    """Ask again and again; False when patience (seconds) was over before it held."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while not await holds():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(every_s)
    return True
