"""What an answer out of the cache had cost when it was made."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Every partition gets it, too."""
    op.execute("ALTER TABLE penstock.entries ADD COLUMN saved_nusd bigint DEFAULT 0")
