"""A name server in one thread: answers A, AAAA, MX and CNAME from a table, over UDP and TCP."""

import socket
import struct
import threading

TYPES = {"A": 1, "CNAME": 5, "SOA": 6, "MX": 15, "AAAA": 28}
SERVFAIL, NXDOMAIN = 2, 3


class NameServer:
    """`zone` maps a name to its records: `{"example.net": [("MX", 10, "mx.example.net")]}`.

    A name mapped to the number of a response code is answered with that; to None, never.
    Names that aren't there get NXDOMAIN, unless a name below them is there.
    """

    def __init__(self, zone):
        self.zone = {name.lower(): records for name, records in zone.items()}
        self.questions = []
        self.udp, self.tcp = same_port()
        self.address = "127.0.0.1:%d" % self.udp.getsockname()[1]
        threading.Thread(target=self._serve_udp, daemon=True).start()
        threading.Thread(target=self._serve_tcp, daemon=True).start()

    def close(self):
        for listener in (self.udp, self.tcp):
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()

    def _serve_udp(self):
        while True:
            try:
                query, client = self.udp.recvfrom(4096)
                if not query:
                    return
                if answer := self.answer(query):
                    self.udp.sendto(answer, client)
            except OSError:
                return

    def _serve_tcp(self):
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
                    if answer := self.answer(connection.recv(length, socket.MSG_WAITALL)):
                        connection.sendall(struct.pack("!H", len(answer)) + answer)
                except (OSError, struct.error):
                    pass

    def answer(self, query):
        identity, flags = struct.unpack("!HH", query[:4])
        name, end = read_name(query, 12)
        question = query[12 : end + 4]
        (kind,) = struct.unpack("!H", query[end : end + 2])
        self.questions.append((name, kind))
        records, code = self.find(name)
        if records is None:
            return None
        found = [r for r in records if TYPES[r[0]] == kind or r[0] == "CNAME"]
        answers = [self.record(name, r) for r in found]
        for record in found:
            if record[0] == "CNAME":
                target = record[1].lower()
                answers += [
                    self.record(target, r) for r in self.find(target)[0] or [] if TYPES[r[0]] == kind
                ]
        # A negative answer is cached by its SOA: a second will do.
        authority = [] if answers or code == SERVFAIL else [soa(name)]
        header = struct.pack(
            "!HHHHHH", identity, 0x8580 | (flags & 0x0100) | code, 1, len(answers), len(authority), 0
        )
        return header + question + b"".join(answers + authority)

    def find(self, name):
        """The records of a name and the response code."""
        records = self.zone.get(name, NXDOMAIN)
        if records == NXDOMAIN and any(known.endswith("." + name) for known in self.zone):
            records = []
        if isinstance(records, int):
            return [], records
        return records, 0

    def record(self, name, record):
        kind, *values = record
        if kind == "A":
            data = socket.inet_aton(values[0])
        elif kind == "AAAA":
            data = socket.inet_pton(socket.AF_INET6, values[0])
        elif kind == "MX":
            data = struct.pack("!H", values[0]) + wire_name(values[1])
        else:
            data = wire_name(values[0])
        return wire_name(name) + struct.pack("!HHIH", TYPES[kind], 1, 1, len(data)) + data


def same_port():
    """Both sockets on one port; what is free for one protocol may be taken for the other."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
            return udp, tcp
        except OSError:
            tcp.close()
            udp.close()


def soa(name):
    data = wire_name("ns." + name) + wire_name("root." + name) + struct.pack("!IIIII", 1, 1, 1, 1, 1)
    return wire_name(name) + struct.pack("!HHIH", TYPES["SOA"], 1, 1, len(data)) + data


def wire_name(name):
    labels = [label for label in name.split(".") if label]
    return b"".join(bytes((len(label),)) + label.encode() for label in labels) + b"\0"


def read_name(message, at):
    labels = []
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("ascii", "replace").lower())
        at += 1 + length
    return ".".join(labels), at + 1
