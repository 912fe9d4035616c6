"""Sessions that are held: their memory, and what a probe client sees while they are there."""

import contextlib
import os
import re
import socket

from measuring import Holders, ProcessorTime, percentile, probe, raise_descriptor_limit, source_address
from harness.certificates import Authority, trusting
from harness.client import Client
from harness.records import RecordClient

from .bare import BareLog
from .case import cases
from .target import Unable
from .targets import TARGETS

# Transactions of the probe client, and of the one that warms the server and has it alone.
PROBES = 1_000
ALONE = 200
# Clients that shake hands, of whom each process has this many at once.
WAVE = 500
LAST_LINE = re.compile(rb"(\A|\n)250 [^\n]*\n\Z")


def hold_when_told(numbers, pipe, hold, *arguments):
    """A client process that is there before its sessions are.

    The libraries that it shares with the server weigh less in the server's PSS from then on, not from its first session.
    """
    pipe.send(0)
    pipe.recv()
    hold(numbers, pipe, *arguments)


def hold_idle(numbers, pipe, address, _):
    """A client process: sessions that have said EHLO, until it is told to end."""
    raise_descriptor_limit()
    held = []
    for number in numbers:
        connection = socket.create_connection(address, 20, (source_address(number), 0))
        if not connection.recv(1024).startswith(b"220"):
            raise SystemExit("not greeted with 220")
        connection.sendall(b"EHLO idle.example.org\r\n")
        said = b""
        while not LAST_LINE.search(said):
            more = connection.recv(4096)
            if not more:
                raise SystemExit(f"closed after {said!r}")
            said += more
        held.append(connection)
    pipe.send(len(held))
    pipe.recv()


def hold_tls(numbers, pipe, address, authority_file):
    """The same inside TLS."""
    raise_descriptor_limit()
    context = trusting(authority_file)
    held = []
    for number in numbers:
        client = Client(address, source_address(number))
        client.ehlo()
        client.starttls(context).ehlo()
        held.append(client)
    pipe.send(len(held))
    pipe.recv()


def hold_within_data(numbers, pipe, address, authority_file):
    """Sessions that stall within a line of DATA, every other one inside TLS."""
    context = trusting(authority_file)
    held = []
    for number in numbers:
        client = Client(address, source_address(number))
        client.ehlo()
        if number % 2:
            client.starttls(context).ehlo()
        client.envelope("a@example.org", ["b@example.com"])
        client.command("DATA")
        client.send(b"Subject: stalled\r\n\r\nhalf a li")
        held.append(client)
    pipe.send(len(held))
    pipe.recv()


def ready_for_handshake(address, number, context):
    """A session in which STARTTLS has been answered 220, and the ClientHello that comes next."""
    client = Client(address, source_address(number))
    client.ehlo()
    client.command("STARTTLS")
    records = RecordClient(client, context)
    return client, records, records.flight()


def hold_within_handshake(numbers, pipe, address, authority_file):
    """Sessions that stall within a handshake: half of them after half a ClientHello, half after a whole one."""
    context = trusting(authority_file)
    held = []
    for number in numbers:
        client, _, hello = ready_for_handshake(address, number, context)
        client.send(hello[: len(hello) // 2] if number % 2 else hello)
        held.append(client)
    pipe.send(len(held))
    pipe.recv()


def shake_hands(numbers, pipe, address, authority_file):
    """Wave after wave of handshakes, all of a wave begun at once, until it is told to end."""
    # The probe client is timed, and mustn't wait for this one.
    os.nice(10)
    context = trusting(authority_file)
    reported = False
    while not pipe.poll():
        wave = [ready_for_handshake(address, number, context) for number in numbers]
        for client, _, hello in wave:
            client.send(hello)
        if not reported:
            pipe.send(len(wave))
            reported = True
        for client, records, _ in wave:
            records.handshake()
            client.close()


class Held:
    """One kind of session, in several numbers."""

    def __init__(self, name, summary, hold, counts, targets, tls=False, a_process=5_000):
        self.name, self.summary, self.hold, self.targets = name, summary, hold, targets
        self.options = {"sessions": counts}
        self.tls, self.a_process = tls, a_process

    def groups(self, chosen, targets):
        for sessions in chosen["sessions"]:
            yield cases(self.name, targets, sessions=sessions)

    @contextlib.contextmanager
    def opened(self, case, bench):
        most = TARGETS[case.target].most_held
        if most and case["sessions"] > most:
            raise Unable(f"it holds no more than {most:,} sessions here")
        if case["sessions"] > raise_descriptor_limit() - 600:
            raise Unable(f"the descriptor limit is {raise_descriptor_limit()}")
        yield lambda: self.measure(case, bench)

    def measure(self, case, bench):
        count = case["sessions"]
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(bench.folder())
            authority = Authority(folder / "authority") if self.tls else None
            pair = authority and authority.pair()
            server = stack.enter_context(TARGETS[case.target](folder, count, pair))
            # Warm: what the first transactions make the server allocate isn't a session's.
            alone = probe(server.address, ALONE, sender=server.sender)
            authority_file = str(authority.file) if authority else ""
            holders = Holders(hold_when_told, count, self.hold, server.address, authority_file, a_process=self.a_process)
            stack.callback(holders.close)
            holders.until_held()
            ProcessorTime(server.pid).until_idle()
            before = server.proportional_octets()
            holders.tell("go")
            held = holders.until_held()
            figures = {}
            if self.hold is not shake_hands:
                ProcessorTime(server.pid).until_idle()
                figures["kib"] = (server.proportional_octets() - before) / 1024 / held
            meanwhile = probe(server.address, PROBES, sender=server.sender)
            if not holders.are_alive():
                raise Unable("a client process ended while the probe was served")
            # Gone before the server is told to end, which would wait for them.
            holders.close()
            return figures | {
                "p50_ms": percentile(meanwhile, 0.5),
                "p99_ms": percentile(meanwhile, 0.99),
                "alone_p99_ms": percentile(alone, 0.99),
            }


HELD = (
    Held("idle", "sessions that have said EHLO and wait", hold_idle, (1_000, 5_000, 10_000, 19_000), tuple(TARGETS)),
    Held("idle-tls", "the same inside TLS", hold_tls, (1_000, 5_000),
         tuple(name for name in TARGETS if name != BareLog.name), tls=True),
    Held("stalled-data", "sessions within a line of DATA, half of them inside TLS", hold_within_data, (500,),
         ("elemta",), tls=True),
    Held("stalled-handshake", "sessions within a ClientHello or after it", hold_within_handshake, (500,),
         ("elemta",), tls=True),
    Held("handshaking", "clients that begin a handshake at once, again and again", shake_hands, (1_000,),
         ("elemta",), tls=True, a_process=WAVE),
)
