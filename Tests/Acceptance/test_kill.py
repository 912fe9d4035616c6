"""kill -9 under load, again and again: every message answered 250 reaches the sink."""

import os
import random
import re
import threading

from harness.case import Case, routes_to
from harness.client import Client, Closed
from harness.waiting import until

ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))
SENDERS = 6


class Sender(threading.Thread):
    """Sends message after message until the server is gone; remembers what was answered 250."""

    def __init__(self, address, round_number, number):
        super().__init__(daemon=True)
        self.address = address
        self.prefix = f"r{round_number}s{number}"
        self.random = random.Random(self.prefix)
        self.accepted = []

    def run(self):
        count = 0
        try:
            while True:
                with Client(self.address) as client:
                    client.ehlo()
                    for _ in range(20):
                        name = f"{self.prefix}m{count}"
                        count += 1
                        # Most are small; some pass the spill threshold of 64 KiB.
                        size = self.random.choice((200, 200, 200, 2000, 2000, 20_000, 100_000))
                        content = b"Subject: %s\r\n\r\n" % name.encode() + (b"k" * 98 + b"\r\n") * (size // 100)
                        via = self.random.choice(("DATA", "BDAT"))
                        reply = client.message("", ["b@example.com"], content, via=via)
                        if reply.code == 250:
                            self.accepted.append((name, len(content)))
        except (Closed, OSError, AssertionError):
            pass  # killed


class KillNine(Case):
    def test_every_message_answered_250_reaches_the_sink(self):
        sink = self.sink()
        server = self.server({"queue": {"retry_schedule": [1]}, **routes_to(sink)})
        generator = random.Random(9)
        accepted = {}
        for number in range(ROUNDS):
            senders = [Sender(server.address, number, n) for n in range(SENDERS)]
            for sender in senders:
                sender.start()
            enough = generator.randrange(20, 400)
            until(lambda: sum(len(s.accepted) for s in senders) >= enough, f"{enough} messages accepted", 60)
            server.kill()
            for sender in senders:
                sender.join(30)
                self.assertFalse(sender.is_alive())
                accepted.update(sender.accepted)
            server.start()
        until(lambda: accepted.keys() <= self.arrived(sink).keys(), "every accepted message at the sink", 120)
        server.until_nothing_waits(60)
        arrived = self.arrived(sink)
        for name, size in accepted.items():
            for found in arrived[name]:
                self.assertEqual(found, size, name)
        duplicates = sum(len(sizes) - 1 for sizes in arrived.values())
        extra = len(arrived.keys() - accepted.keys())
        print(
            f"kill -9: {ROUNDS} rounds, {len(accepted)} messages answered 250, all at the sink; "
            f"{duplicates} duplicates, {extra} arrived whose 250 was cut off",
            flush=True,
        )

    def arrived(self, sink):
        """The sizes in which each message arrived, by name."""
        sizes = {}
        for message in list(sink.messages):
            content = message.without_trace()
            name = re.match(rb"Subject: (\w+)\r\n", content)[1].decode()
            sizes.setdefault(name, []).append(len(content))
        return sizes
