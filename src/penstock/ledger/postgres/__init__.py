"""The ledger in PostgreSQL, for several gateways: the same tables, the same journal, one shared database.

Owns: the connection, the migrations (Alembic, shipped here), the months' partitions, the writer's COPY.
Does not own: the queue and its rules (``ledger.journal``), the questions (``ledger.queries``).
Needs the extra ``penstock[postgres]``; imported by ``ledger.opening`` alone.
"""
