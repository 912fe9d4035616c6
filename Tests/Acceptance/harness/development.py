"""Servers in dev mode and what their log says of the messages that they keep."""

import re

from .case import Case
from .waiting import until

# A session's name in the log and in the replies to XDEBUG (RFC 9562).
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
LETTER = b"Subject: a letter\r\n\r\nbody\r\n"


class DevelopmentCase(Case):
    def developer(self, configuration=None, **options):
        return self.server({"dev_mode": True} | (configuration or {}), **options)

    def captured(self, server):
        """The log's fields of every captured message, in order; values without their quotes."""
        found = []
        for line in server.log.splitlines():
            if " message_received " not in line:
                continue
            pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line)
            found.append({key: value.strip('"') for key, value in pairs})
        return found

    def until_captured(self, server, count):
        until(lambda: len(self.captured(server)) >= count, f"{count} messages in the log")
        return self.captured(server)
