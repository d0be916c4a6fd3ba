"""Organisations, teams and virtual keys made at run time, and the record of every change (``penstock.registry``)."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """One version for all: it tells every gateway that something has changed."""
    for statement in (
        """
        CREATE TABLE penstock.admin_state (
            one smallint PRIMARY KEY CHECK (one = 1),
            version bigint NOT NULL,
            closed boolean NOT NULL
        )
        """,
        "INSERT INTO penstock.admin_state VALUES (1, 0, false)",
        """
        CREATE TABLE penstock.admin_objects (
            kind text COLLATE "C" NOT NULL,
            name text COLLATE "C" NOT NULL,
            fields text NOT NULL,
            created_ms bigint NOT NULL,
            updated_ms bigint NOT NULL,
            PRIMARY KEY (kind, name)
        )
        """,
        """
        CREATE TABLE penstock.admin_audit (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            at_ms bigint NOT NULL,
            who text NOT NULL,
            action text NOT NULL,
            kind text NOT NULL,
            name text NOT NULL,
            before text,
            after text
        )
        """,
        """
        CREATE FUNCTION penstock.admin_audit_kept() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the record is only added to'; END $$
        """,
        """
        CREATE TRIGGER admin_audit_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON penstock.admin_audit
        FOR EACH STATEMENT EXECUTE FUNCTION penstock.admin_audit_kept()
        """,
    ):
        op.execute(statement)
