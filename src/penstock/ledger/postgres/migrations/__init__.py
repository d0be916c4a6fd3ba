"""Migrations, as Alembic runs them. One that was released is never edited: a change is a new one."""
