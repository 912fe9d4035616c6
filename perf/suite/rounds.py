"""Rounds of several cases in turn, A B A B, so that all of them meet the same machine."""

import contextlib
import statistics
import subprocess
import sys

from .target import Unable

# What a case may fail with and leave the others going.
FAILURES = (Unable, AssertionError, OSError, EOFError, SystemExit, subprocess.SubprocessError)


class Row:
    """A case, the figures of each of its rounds, and why it has none or no more."""

    def __init__(self, case, failure=None):
        self.case = case
        self.rounds = []
        self.failure = failure

    @property
    def figures(self):
        return self.rounds[0].keys() if self.rounds else ()

    def values(self, figure):
        return [measured[figure] for measured in self.rounds if figure in measured]

    def median(self, figure):
        return statistics.median(self.values(figure))


def sentence(error):
    """The first line of what an error says."""
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[0][:160]


def measure(scenario, group, rounds, bench):
    """The rows of a group of cases."""
    rows = {case: Row(case) for case in group}
    with contextlib.ExitStack() as stack:
        live = {case: stack.enter_context(guarded(scenario.opened(case, bench), row)) for case, row in rows.items()}
        for number in range(rounds):
            for case, row in rows.items():
                if row.failure:
                    continue
                try:
                    row.rounds.append(live[case]())
                    progress(f"{case.situation}, {case.target}, round {number + 1}: {shown(row.rounds[-1])}")
                except FAILURES as error:
                    fail(row, error)
    return list(rows.values())


@contextlib.contextmanager
def guarded(opened, row):
    """The same, but what goes wrong at its beginning or end is the row's failure."""
    is_open = False
    try:
        with opened as take:
            is_open = True
            yield take
            if row.failure:
                # Nothing more is expected of its target then: it is only ended.
                raise Unable(row.failure)
    except FAILURES as error:
        if not row.failure:
            fail(row, error)
        if not is_open:
            yield None


def fail(row, error):
    row.failure = sentence(error)
    progress(f"{row.case.situation}, {row.case.target}: left out: {row.failure}")


def shown(figures):
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def progress(text):
    print(text, file=sys.stderr, flush=True)
