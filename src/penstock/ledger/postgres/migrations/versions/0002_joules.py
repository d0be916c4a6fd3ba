"""What a stage drew from the wall, where it was measured."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Every partition gets it, too."""
    op.execute("ALTER TABLE penstock.entries ADD COLUMN joules double precision")
