"""Who stood above and below the virtual key."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Every partition gets them, too. ``end_user``: ``user`` would be read as who is connected."""
    for table in ("calls", "entries"):
        for column in ("organisation", "team", "end_user"):
            op.execute(f"ALTER TABLE penstock.{table} ADD COLUMN {column} text COLLATE \"C\" DEFAULT ''")
