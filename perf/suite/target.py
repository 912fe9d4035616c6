"""A server under test: Elemta and smtp-sink, and what every other one has too."""

import pathlib
import socket

from measuring import family, proportional_octets
from harness import tools
from harness.server import BINARY, Server
from harness.waiting import until


class Unable(Exception):
    """Why a target, or one of its rounds, is left out: a sentence."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Target:
    """Running between `with` and its end, in `directory`; takes `sessions` at once.

    With `pair`, a certificate and its key, it offers STARTTLS. `pid` is the process whose descendants are
    the whole server, `address` where it listens.
    """

    name = ""
    sender = "a@example.org"
    # Why it can't be measured with STARTTLS; None: it can.
    why_no_tls = None
    # Sessions that it can hold beside another, that can send at once, and why no more can; messages that it can take in
    # a round. None: no such limit.
    most_held = None
    most_sending = None
    why_no_more = None
    most_messages = None
    # Memory that one idle session takes, roughly: whether this machine has enough is asked before.
    octets_a_session = 16 << 10

    def __init__(self, directory, sessions=1000, pair=None):
        self.directory = pathlib.Path(directory).resolve()
        self.sessions, self.pair = sessions, pair
        if pair and self.why_no_tls:
            raise Unable(self.why_no_tls)
        if sessions * self.octets_a_session > available_octets() / 2:
            raise Unable(f"{sessions} sessions take more memory than there is")

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.finish()
        finally:
            self.end()

    def start(self):
        raise NotImplementedError

    def until_listening(self, process, log):
        """Waits until `address` takes connections; fails with the end of `log` if the process has ended."""

        def listens_or_gone():
            with socket.socket() as probe:
                return probe.connect_ex(self.address) == 0 or process.poll() is not None

        until(listens_or_gone, f"{self.name} listening", 20)
        if process.poll() is not None:
            raise AssertionError(f"{self.name} doesn't start: {log.read_text(errors='replace')[-2000:]}")

    def finish(self):
        """What must be true once all rounds are over."""

    def end(self):
        raise NotImplementedError

    def proportional_octets(self):
        return sum(proportional_octets(pid) for pid in family(self.pid))


def available_octets():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise Unable("/proc/meminfo says nothing of MemAvailable")


class Elemta(Target):
    """A durable queue, and the route `discard` behind it."""

    name = "elemta"

    def start(self):
        settings = {
            "allowed_relays": ["127.0.0.0/8"],
            "limits": {"max_connections": self.sessions + 500, "max_connections_per_ip": 100_000},
            # Descriptors for deliveries are taken from those for sessions, and `discard` needs none.
            "delivery": {"max_connections": 10},
        }
        if self.pair:
            settings["tls"] = {"enabled": True, **self.pair.settings}
        self.server = Server(self.directory, settings)
        self.server.start()
        self.pid, self.address = self.server.process.pid, self.server.address

    def finish(self):
        self.server.until_nothing_waits()
        self.server.stop()

    def end(self):
        if self.server.process:
            self.server.kill()

    @classmethod
    def missing(cls):
        return None if BINARY.exists() else f"{BINARY} isn't there: make build"


class SmtpSink(Target):
    """Throws mail away in memory: what no server with a disk is measured against lightly."""

    name = "smtp-sink"
    why_no_tls = "it has no STARTTLS"
    octets_a_session = 270 << 10
    # Each new session walks the timers of all others: 19,000 take minutes.
    most_held = 10_000
    sink = None

    def start(self):
        # -m: 256 sessions are its default; -t: it hangs up after 100 s by default.
        self.sink = tools.SmtpSink(None, ["-m", str(self.sessions + 500), "-t", "600"])
        self.pid, self.address = self.sink.process.pid, ("127.0.0.1", self.sink.port)

    def end(self):
        if self.sink:
            self.sink.close()

    @classmethod
    def missing(cls):
        program = tools.POSTFIX / "usr/sbin/smtp-sink"
        return None if program.exists() else f"{program} isn't there: scripts/dependencies test"
