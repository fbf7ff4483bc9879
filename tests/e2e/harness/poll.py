"""Waiting for something without sleeping for a guessed time."""
import os
import time

# How many times longer than usual a test waits: what a sanitizer watches is slow.
PATIENCE = float(os.environ.get("WALFERRY_PATIENCE", 1))


class NotInTime(AssertionError):
    pass


def poll_until(check, what, timeout=30.0, every=0.05, forgiving=()):
    """Calls check() until its answer is true and returns it. Exceptions of the kinds in `forgiving` mean "not yet"."""
    timeout *= PATIENCE
    end = time.monotonic() + timeout
    while True:
        seen = None
        try:
            seen = check()
            if seen:
                return seen
        except forgiving as error:
            seen = error
        if time.monotonic() >= end:
            raise NotInTime(f"{what}: not within {timeout:g} s (last seen: {seen!r})")
        time.sleep(every)


def poll_while(check, what, seconds, every=0.1):
    """The opposite: check() must stay true for that long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert check(), f"{what}: no longer true"
        time.sleep(every)
