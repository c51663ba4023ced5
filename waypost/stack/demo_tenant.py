"""The demo tenant of a local stack: made by the API as any other tenant, once, and found again at the next start."""

from __future__ import annotations

from waypost.stack.errors import StackError
from waypost.stack.layout import Stack


class DemoTenantError(StackError):
    """The tenant could not be made; the stack runs all the same."""


def ensure(stack: Stack) -> str | None:
    """The tenant's API key. Raises DemoTenantError."""
    return stack.secrets.demo_api_key
