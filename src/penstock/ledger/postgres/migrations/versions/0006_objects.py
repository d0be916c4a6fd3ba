"""What callers leave with the gateway: files, batches, jobs, stored responses (``penstock.objects``)."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """As ``objects.sqlite`` has them."""
    for statement in (
        """
        CREATE TABLE penstock.objects (
            seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            kind text COLLATE "C" NOT NULL,
            owner text COLLATE "C" NOT NULL,
            id text COLLATE "C" NOT NULL,
            created_ms bigint NOT NULL,
            expires_ms bigint,
            due_ms bigint,
            lease_ms bigint,
            worker text,
            version bigint NOT NULL,
            meta text NOT NULL,
            blob text COLLATE "C",
            size bigint NOT NULL,
            UNIQUE (kind, owner, id)
        )
        """,
        "CREATE INDEX objects_listed ON penstock.objects (kind, owner, seq)",
        "CREATE INDEX objects_due ON penstock.objects (kind, due_ms) WHERE due_ms IS NOT NULL",
        "CREATE INDEX objects_expire ON penstock.objects (expires_ms) WHERE expires_ms IS NOT NULL",
        """
        CREATE TABLE penstock.object_pieces (
            blob text COLLATE "C" NOT NULL,
            n bigint NOT NULL,
            size bigint NOT NULL,
            data bytea NOT NULL,
            PRIMARY KEY (blob, n)
        )
        """,
        'CREATE TABLE penstock.object_drafts (blob text COLLATE "C" PRIMARY KEY, begun_ms bigint NOT NULL)',
        """
        CREATE TABLE penstock.object_items (
            seq bigint NOT NULL,
            n bigint NOT NULL,
            state text COLLATE "C" NOT NULL,
            data bytea,
            blob text COLLATE "C",
            PRIMARY KEY (seq, n)
        )
        """,
        "CREATE INDEX object_items_state ON penstock.object_items (seq, state)",
        """
        CREATE TABLE penstock.object_gone (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            seq bigint,
            blob text COLLATE "C"
        )
        """,
    ):
        op.execute(statement)
