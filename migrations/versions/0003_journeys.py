"""Journeys, their versions, enrollments, visits, and what enrollments are told."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parent.parent / "sql" / "0003_journeys.sql"


def upgrade() -> None:
    """Run the numbered SQL file of the same name."""
    op.execute("SET LOCAL lock_timeout = '2s'")
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(_SQL.read_text(encoding="utf-8"))  # without parameters: % in the file is PostgreSQL's own


def downgrade() -> None:
    """The ledger is never taken away: go forward instead."""
    raise NotImplementedError("0003 carries what journeys sent; restore a backup instead")
