"""A TLS client whose records pass through our hands before they are sent."""

import ssl

from .client import NAME

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = range(20, 25)
WARNING, FATAL = 1, 2
CLOSE_NOTIFY, HANDSHAKE_FAILURE, NO_RENEGOTIATION = 0, 40, 100


def record(kind, octets, version=b"\x03\x01"):
    """One record in clear text (RFC 8446 5.1)."""
    return bytes((kind,)) + version + len(octets).to_bytes(2, "big") + octets


def alert(level, description):
    return record(ALERT, bytes((level, description)), b"\x03\x03")


class RecordClient:
    """TLS over a client's socket; nothing is sent unless it is told to."""

    def __init__(self, client, context, name=NAME):
        self.socket = client.socket
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def flight(self):
        """What the handshake would send now, without sending it."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def receive(self):
        """Whatever the server sends next."""
        octets = self.socket.recv(65536)
        if not octets:
            raise EOFError("closed within the handshake")
        self.incoming.write(octets)

    def second_flight(self):
        """The client's answer to the server's first flight, not sent yet."""
        self.socket.sendall(self.flight())
        while True:
            self.receive()
            if answer := self.flight():
                return answer

    def handshake(self):
        self.socket.sendall(self.second_flight())
        while not self._is_done():
            self.receive()
        return self

    def _is_done(self):
        try:
            self.tls.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False

    def sealed(self, octets):
        """The records that hold these octets, without sending them."""
        self.tls.write(octets)
        return self.outgoing.read()

    def send(self, octets):
        self.socket.sendall(self.sealed(octets))

    def close(self):
        """close_notify: nothing more comes from us."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.socket.sendall(self.outgoing.read())

    def read_line(self):
        """The next line from the server, inside."""
        line = b""
        while not line.endswith(b"\n"):
            try:
                line += self.tls.read(1)
            except ssl.SSLWantReadError:
                self.receive()
        return line

    def reply(self):
        """The last line of the next reply."""
        while (line := self.read_line())[3:4] == b"-":
            pass
        return line

    def command(self, line):
        self.send(line + b"\r\n")
        return self.reply()
