"""Accepting mail from smtp-source: messages a second and what each costs."""

import contextlib
import subprocess
import time

from measuring import ProcessorTime
from harness import tools

from .case import cases
from .target import Unable
from .targets import TARGETS

SESSIONS = (1, 20, 100, 1000)
SIZES = (1 << 10, 10 << 10, 100 << 10, 1 << 20)
# What a round may send at most.
MESSAGES = 200_000
OCTETS = 2 << 30
# smtp-source, which is ended if it takes longer.
DEADLINE = 40
# The first round of all only finds out how fast the target is.
PILOT = 40
PILOT_OCTETS = 16 << 20


def send(target, messages, sessions, size, reuse=True):
    """smtp-source to its end; the seconds that it took."""
    options = ["-s", sessions, "-m", messages, "-l", size, "-f", target.sender, "-t", "b@example.com"]
    if reuse:
        options.append("-d")
    began = time.monotonic()
    try:
        tools.smtp_source(target.address, *options, seconds=DEADLINE)
    except subprocess.TimeoutExpired:
        raise Unable(f"a round takes longer than {DEADLINE} s") from None
    except AssertionError as error:
        # Its last line says what it was answered.
        raise Unable(str(error).strip().rpartition("fatal: ")[2]) from None
    return time.monotonic() - began


class Sender:
    """Sends to one target, round after round, each as long as asked for by the rate of the one before."""

    def __init__(self, target, sessions, size, reuse, seconds):
        self.target, self.sessions, self.size, self.reuse = target, sessions, size, reuse
        self.rate = None
        # Once to learn the rate, once as long as half a round, so that no process or file is new.
        pilot = max(min(PILOT * 5, PILOT_OCTETS // size), PILOT if size < 1 << 20 else 8)
        self.round(self.bounded(min(pilot, max(sessions, PILOT))))
        self.round(self.bounded(self.rate * seconds / 2))
        self.seconds = seconds

    def bounded(self, messages):
        most = min(MESSAGES, OCTETS // self.size, self.target.most_messages or MESSAGES)
        return max(1, min(int(messages), most))

    def measure(self):
        # Each session sends one message at least, or fewer of them would be there.
        count = self.bounded(max(self.rate * self.seconds, self.sessions))
        if count / self.rate > DEADLINE:
            raise Unable(f"a round takes longer than {DEADLINE} s")
        return self.round(count)

    def round(self, count):
        processor = ProcessorTime(self.target.pid)
        seconds = send(self.target, count, min(self.sessions, count), self.size, self.reuse)
        self.rate = count / seconds
        return {
            "rate": self.rate,
            "cpu_ms": processor.until_idle() * 1000 / count,
            "octets": self.rate * self.size,
        }


class Accept:
    name = "accept"
    summary = "smtp-source sends; each message is one transaction with one recipient"
    targets = tuple(TARGETS)
    options = {"sessions": SESSIONS, "size": SIZES, "reuse": (True, False)}

    def groups(self, chosen, targets):
        for size in chosen["size"]:
            for sessions in chosen["sessions"]:
                for reuse in chosen["reuse"]:
                    yield cases(self.name, targets, sessions=sessions, size=size, reuse=reuse)

    @contextlib.contextmanager
    def opened(self, case, bench):
        if case["sessions"] > (TARGETS[case.target].most_sending or case["sessions"]):
            raise Unable(TARGETS[case.target].why_no_more)
        with bench.folder() as folder, TARGETS[case.target](folder, case["sessions"]) as target:
            yield Sender(target, case["sessions"], case["size"], case["reuse"], bench.seconds).measure
