"""How fast a queue of messages is delivered to one next hop, smtp-sink.

Each server is filled with messages that it mustn't deliver yet, then told to, and the clock runs until smtp-sink has
them all.
"""

import contextlib
import time

from measuring import ProcessorTime
from harness import tools
from harness.server import Server
from harness.waiting import until

from .accept import send
from .case import cases
from .postfix import HoldingPostfix
from .target import Target

SIZE = 2048  # as it is by default
# At once to the next hop.
CONCURRENCY = 100
# Sessions that fill the queue.
FILLING = 50
DEADLINE = 300


class HoldingElemta(Target):
    """Puts mail on hold; `release` has it delivered to `next_hop`."""

    name = "elemta"

    def __init__(self, directory, next_hop):
        super().__init__(directory)
        self.route = f"smtp://{next_hop[0]}:{next_hop[1]}"
        # Nothing listens at port 1: mail waits until it is put on hold.
        self.server = Server(directory, {
            "queue": {"retry_schedule": [3600]},
            "limits": {"max_connections_per_ip": 1000},
            "delivery": {
                "routes": [{"domain": "*", "deliver": "smtp://127.0.0.1:1"}],
                "max_connections_per_destination": CONCURRENCY,
            },
        })

    def start(self):
        self.server.start()
        self.pid, self.address = self.server.process.pid, self.server.address

    def until_held(self, _):
        self.server.run("queue", "hold", "--all")
        self.server.stop()
        self.server.configuration["delivery"]["routes"] = [{"domain": "*", "deliver": self.route}]
        self.start()
        until(lambda: "queue_recovered" in self.server.log, "the queue back", 60)

    def release(self):
        self.server.run("queue", "release", "--all")

    def finish(self):
        self.server.until_nothing_waits()
        self.server.stop()

    def end(self):
        if self.server.process:
            self.server.kill()


HOLDING = {"elemta": HoldingElemta, "postfix": HoldingPostfix}


class Drain:
    name = "drain"
    summary = "messages that wait are delivered to smtp-sink by at most 100 connections"
    targets = tuple(HOLDING)
    options = {"messages": (20_000,), "size": (SIZE,)}

    def groups(self, chosen, targets):
        for messages in chosen["messages"]:
            for size in chosen["size"]:
                yield cases(self.name, targets, messages=messages, size=size)

    @contextlib.contextmanager
    def opened(self, case, bench):
        yield lambda: measure(case, bench)


def measure(case, bench):
    count, size = case["messages"], case["size"]
    sink = tools.SmtpSink(None, ["-c"])
    try:
        with bench.folder() as folder, HOLDING[case.target](folder, ("127.0.0.1", sink.port)) as server:
            send(server, count, FILLING, size)
            server.until_held(count)
            processor, began = ProcessorTime(server.pid), time.monotonic()
            server.release()
            until(lambda: sink.count() >= count, f"{count} messages at smtp-sink", DEADLINE)
            rate = count / (time.monotonic() - began)
            return {"rate": rate, "cpu_ms": processor.until_idle() * 1000 / count, "octets": rate * size}
    finally:
        sink.close()
