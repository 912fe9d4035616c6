"""An SMTP client that sends exactly the octets it is told to."""

import re
import socket
import ssl

from .waiting import PATIENCE

# Seconds that one reply may take.
REPLY_TIMEOUT = 20 * PATIENCE
# What the servers' certificates are for.
NAME = "mail.example.com"
# How a connection ends besides by an orderly end of its octets.
CLOSED = (ConnectionResetError, BrokenPipeError, ssl.SSLError)


class Closed(Exception):
    """The server closed the connection where a reply was expected."""


class Reply:
    """One reply, of one or several lines."""

    def __init__(self, octets):
        self.octets = octets
        self.lines = octets.decode("utf-8", "backslashreplace").split("\r\n")[:-1]
        self.code = int(self.lines[0][:3])
        self.texts = [line[4:] for line in self.lines]

    def __str__(self):
        return "\n".join(self.lines)

    def __repr__(self):
        return f"Reply({self.octets!r})"

    @property
    def message_id(self):
        """The id of the message that this reply to the end of data accepted."""
        found = re.search(r"accepted for delivery\W+([0-9A-Za-z_-]+)", self.lines[-1])
        if not found:
            raise AssertionError(f"no message id in {self!r}")
        return found[1]


class Client:
    """One connection. `source` is the address it comes from.

    `first` is sent before anything else. With `tls`, a context, the handshake comes next and
    checks that the certificate is for `name`.
    """

    def __init__(self, address, source=None, timeout=REPLY_TIMEOUT, greeted=True, first=b"",
                 tls=None, name=NAME):
        source_address = (source, 0) if source else None
        self.socket = socket.create_connection(address, timeout, source_address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""
        if first:
            self.socket.sendall(first)
        if tls:
            self.handshake(tls, name)
        self.greeting = self.reply() if greeted else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def handshake(self, context, name=NAME, session=None):
        """TLS from here on; what was sent in clear text has been read to its end."""
        if self.unread:
            raise AssertionError(f"in clear text before the handshake: {self.unread!r}")
        plain = self.socket
        try:
            self.socket = context.wrap_socket(plain, server_hostname=name, session=session)
        except BaseException:
            plain.close()
            raise

    def starttls(self, context, name=NAME, session=None):
        """STARTTLS and the handshake; EHLO is the caller's."""
        reply = self.command("STARTTLS")
        if reply.code != 220:
            raise AssertionError(f"STARTTLS: {reply}")
        self.handshake(context, name, session)
        return self

    def send(self, octets):
        self.socket.sendall(octets)

    def send_each(self, octets):
        """Sends one octet a segment."""
        for octet in octets:
            self.socket.sendall(bytes((octet,)))

    def read_line(self):
        while b"\n" not in self.unread:
            try:
                more = self.socket.recv(65536)
            except CLOSED as error:
                raise Closed(f"{error} after {self.unread!r}") from error
            if not more:
                raise Closed(f"closed after {self.unread!r}")
            self.unread += more
        line, self.unread = self.unread.split(b"\n", 1)
        line += b"\n"
        if not re.fullmatch(rb"[2-5][0-9]{2}[ -][^\r\n\0]*\r\n", line):
            raise AssertionError(f"not a reply line: {line!r}")
        return line

    def reply(self):
        octets = line = self.read_line()
        while line[3:4] == b"-":
            line = self.read_line()
            if line[:3] != octets[:3]:
                raise AssertionError(f"codes differ within a reply: {octets + line!r}")
            octets += line
        return Reply(octets)

    def replies(self, count):
        return [self.reply() for _ in range(count)]

    def command(self, line):
        self.send((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        return self.reply()

    def ehlo(self, name="client.example.org"):
        return self.command(f"EHLO {name}")

    def is_closed(self):
        """Whether the server closed and said nothing more before it did; waits for either."""
        try:
            return not self.unread and not self.socket.recv(65536)
        except CLOSED:
            return True

    def until_closed(self):
        """Everything that the server says before it closes."""
        said, self.unread = self.unread, b""
        try:
            while more := self.socket.recv(65536):
                said += more
        except CLOSED:
            pass
        return said

    def envelope(self, sender, recipients, parameters=""):
        """MAIL and RCPTs; every one must be accepted."""
        commands = [f"MAIL FROM:<{sender}>{parameters}"]
        commands += [f"RCPT TO:<{recipient}>" for recipient in recipients]
        for command in commands:
            reply = self.command(command)
            if reply.code != 250:
                raise AssertionError(f"{command}: {reply}")

    def data(self, content):
        """DATA with `content`, dot-stuffed here; content ends with CRLF. The reply to its end."""
        reply = self.command("DATA")
        if reply.code != 354:
            return reply
        self.send(stuffed(content) + b".\r\n")
        return self.reply()

    def bdat(self, content, chunk=None):
        """BDAT, in chunks of `chunk` octets, all in flight at once. The last reply."""
        chunk = chunk or max(len(content), 1)
        pieces = [content[at : at + chunk] for at in range(0, len(content), chunk)] or [b""]
        wire = b""
        for number, piece in enumerate(pieces, 1):
            last = " LAST" if number == len(pieces) else ""
            wire += b"BDAT %d%s\r\n%s" % (len(piece), last.encode(), piece)
        self.send(wire)
        return self.replies(len(pieces))[-1]

    def message(self, sender, recipients, content, parameters="", via="DATA"):
        """A whole transaction; the reply to its end."""
        self.envelope(sender, recipients, parameters)
        return self.data(content) if via == "DATA" else self.bdat(content)


def stuffed(content):
    """RFC 5321 4.5.2: a dot at the beginning of a line is doubled. Lines end with CRLF."""
    return re.sub(rb"(\A|\r\n)\.", rb"\1..", content)


def unstuffed(wire):
    return re.sub(rb"(\A|\r\n)\.", rb"\1", wire)
