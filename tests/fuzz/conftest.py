"""Inputs by the ten thousand, `make fuzz`: a result or a documented error, and in seconds."""

import os
import signal
from collections import Counter

# SEED names the inputs, FACTOR has more of them or fewer.
SEED, FACTOR = int(os.environ.get("SSAN_FUZZ_SEED", "0")), float(os.environ.get("SSAN_FUZZ_FACTOR", "1"))
REFUSED, TAKEN, SAID = object(), Counter(), []


class Hang(BaseException):
    """An input took longer than 20 seconds; no Exception, as those may be expected."""


def late(*_):
    raise Hang


def attempt(name, errors, function, *arguments):
    """What `function` returns, or `REFUSED` where it raises one of `errors`; whatever else comes of it is a find."""
    TAKEN[name] += 1
    signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        return function(*arguments)
    except errors:
        return REFUSED
    finally:
        signal.alarm(0)


def pytest_terminal_summary(terminalreporter):
    lines = [f"{n:9,} inputs: {name}" for name, n in [*sorted(TAKEN.items()), ("all", TAKEN.total())]]
    terminalreporter.write_line("\n".join(["", *lines, *SAID]))
