"""Kinds of arguments that several commands take; a wrong one is a wrong call (exit 2), said before anything starts."""

import argparse

MAX_PORT = 65535
MAX_WORKERS = 64
MIN_CALLS, MAX_CALLS = 10, 2000


def port(text: str) -> int:
    """A TCP port, 0 for a free one. The event loop would take 80000 for 14464."""
    if not text.isascii() or not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: write a number from 0 to {MAX_PORT}")
    return int(text)


def workers(text: str) -> int:
    """How many processes serve."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of workers: write one from 1 to {MAX_WORKERS}"
        )
    return int(text)


def seconds(text: str) -> float:
    """A length of time above nothing."""
    try:
        length_s = float(text)
    except ValueError:
        length_s = 0.0
    if not 0 < length_s < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time: write a number above 0")
    return length_s


def calls(text: str) -> int:
    """How many calls a replay has."""
    if not text.isascii() or not text.isdecimal() or not MIN_CALLS <= int(text) <= MAX_CALLS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of calls: write one from {MIN_CALLS} to {MAX_CALLS}"
        )
    return int(text)
