"""Mail that is sent until the server is gone, and what was answered to it."""

import random
import re
import threading

from .client import Client, Closed


class Sender(threading.Thread):
    """Sends message after message until the server is gone; remembers what was answered 250."""

    def __init__(self, address, name):
        super().__init__(daemon=True)
        self.address = address
        self.prefix = name
        self.random = random.Random(name)
        # (name, octets of content, id)
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
                        # Most are small; some are sent piece by piece, some pass the spill threshold of 256 KiB.
                        size = self.random.choice((200, 200, 200, 2000, 2000, 20_000, 100_000, 300_000))
                        text = content(name, size)
                        via = self.random.choice(("DATA", "BDAT"))
                        reply = client.message("", ["b@example.com"], text, via=via)
                        if reply.code == 250:
                            self.accepted.append((name, len(text), reply.message_id))
        except (Closed, OSError, AssertionError):
            pass  # killed


def content(name, size):
    return b"Subject: %s\r\n\r\n" % name.encode() + (b"k" * 98 + b"\r\n") * (size // 100)


def name_of(message):
    """The name of a message at the sink, which must be whole."""
    octets = message.without_trace()
    name = re.match(rb"Subject: (\w+)\r\n", octets)[1].decode()
    if octets != content(name, len(octets) // 100 * 100):
        raise AssertionError(f"{name} isn't what was sent: {octets[:300]!r}...")
    return name


def id_of(message):
    """The id that its Received field gives it."""
    return re.search(rb"\bid (\w{13})\b", message.trace)[1].decode()
