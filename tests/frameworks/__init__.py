"""Programs of frameworks whose pins collide with ours: run in an environment of their own (.venv-frameworks)."""
