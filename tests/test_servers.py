"""The tests' own servers are real ones, and where they cannot be had that is said aloud."""

import socket

import psycopg
import pytest

from tests import servers


def test_a_postgresql_answers(postgres_server):
    """It asks for the password, and speaks UTF-8."""
    url = postgres_server.database()
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(servers.PASSWORD, "another"))


def test_a_redis_answers(redis_server):
    """PING, PONG, on a plain socket."""
    with socket.create_connection(("127.0.0.1", redis_server.port), 5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100) == b"+PONG\r\n"


def test_missing_servers_are_said(monkeypatch):
    """Skipped with the remedy; failed where they must be there."""
    monkeypatch.delenv("PENSTOCK_NEED_SERVERS", raising=False)
    monkeypatch.setattr(servers, "postgres_bin", lambda: None)
    with pytest.raises(pytest.skip.Exception, match="install_servers"):
        servers.PostgresServer()
    monkeypatch.setenv("PENSTOCK_NEED_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match="PENSTOCK_NEED_SERVERS"):
        servers.PostgresServer()
