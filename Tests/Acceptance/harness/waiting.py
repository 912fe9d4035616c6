"""The one place where the tests wait."""

import os
import time

# Deadlines are multiplied by this: a build with a sanitizer is several times slower.
PATIENCE = float(os.environ.get("ACCEPTANCE_PATIENCE", "1"))


def until(condition, what, seconds=10):
    """Polls `condition` until it is true and returns its value; fails after `seconds`."""
    deadline = time.monotonic() + seconds * PATIENCE
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * PATIENCE:g} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
