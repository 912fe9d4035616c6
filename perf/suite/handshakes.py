"""STARTTLS handshakes a second, and what a session with one costs the server."""

import contextlib
import time

from measuring import Holders, ProcessorTime, source_address
from harness.certificates import Authority, trusting
from harness.client import Client

from .case import cases
from .targets import TARGETS

COUNT = 2_000
# Client processes, one handshake after the other in each: more than there are processors here.
PROCESSES = 4


def shake(address, number, context, ticket):
    """Connect, EHLO, STARTTLS, the handshake, QUIT; the session that the next one can resume."""
    with Client(address, source_address(number)) as client:
        client.ehlo()
        client.starttls(context, session=ticket)
        if bool(ticket) != client.socket.session_reused:
            raise SystemExit("the server didn't resume the TLS session")
        if client.socket.version() != "TLSv1.3":
            raise SystemExit(f"{client.socket.version()} instead of TLS 1.3")
        # Tickets come before the reply to it (RFC 8446 4.6.1).
        client.command("QUIT")
        return client.socket.session


def shake_all(numbers, pipe, address, authority_file, is_resumed):
    """A client process: makes ready, says so, and shakes hands once for each number when it is told to."""
    context = trusting(authority_file)
    ticket = shake(address, numbers[0], context, None)
    pipe.send(0)
    pipe.recv()
    for number in numbers:
        latest = shake(address, number, context, ticket if is_resumed else None)
        if is_resumed:
            ticket = latest
    pipe.send(len(numbers))
    pipe.recv()


class Handshakes:
    name = "handshakes"
    summary = "sessions from connect to QUIT with a STARTTLS handshake, TLS 1.3, a P-256 certificate"
    targets = ("elemta", "postfix", "chasquid")
    options = {"resumption": ("full", "resumed")}

    def groups(self, chosen, targets):
        # Both in turn: one is measured against the other.
        yield [case for kind in chosen["resumption"] for case in cases(self.name, targets, resumption=kind)]

    @contextlib.contextmanager
    def opened(self, case, bench):
        with bench.folder() as folder:
            authority = Authority(folder / "authority")
            with TARGETS[case.target](folder, pair=authority.pair()) as target:
                yield lambda: measure(target, authority, case["resumption"] == "resumed")


def measure(target, authority, is_resumed):
    holders = Holders(shake_all, COUNT, target.address, str(authority.file), is_resumed, a_process=COUNT // PROCESSES)
    try:
        holders.until_held()
        ProcessorTime(target.pid).until_idle()
        processor, began = ProcessorTime(target.pid), time.monotonic()
        holders.tell("go")
        count = holders.until_held()
        seconds = time.monotonic() - began
        return {"rate": count / seconds, "cpu_ms": processor.until_idle() * 1000 / count}
    finally:
        holders.close()
