"""What a message costs when very many sessions are connected: ten send, the others have said EHLO and wait."""

import contextlib

from measuring import Holders

from .accept import Sender
from .case import cases
from .held import hold_idle
from .targets import TARGETS

SENDING = 10
SIZE = 1 << 10


class Growth:
    name = "growth"
    summary = "10 of the sessions send messages of 1 KiB, the others wait"
    targets = ("elemta", "smtp-sink")
    options = {"sessions": (10, 10_000)}

    def groups(self, chosen, targets):
        # In turn: one is measured against the other.
        yield [case for count in chosen["sessions"] for case in cases(self.name, targets, sessions=count)]

    @contextlib.contextmanager
    def opened(self, case, bench):
        count = case["sessions"]
        with bench.folder() as folder, TARGETS[case.target](folder, count) as target:
            holders = Holders(hold_idle, max(0, count - SENDING), target.address, "")
            try:
                holders.until_held()
                yield Sender(target, SENDING, SIZE, True, bench.seconds).measure
            finally:
                holders.close()
