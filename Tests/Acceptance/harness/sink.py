"""A next hop in Python: keeps what it is sent, octet by octet, and misbehaves on demand."""

import base64
import re
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

from .client import unstuffed
from .waiting import until

EVERYTHING = ("PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES")

# Faults beside a reply's octets.
CLOSE = "close"
SILENCE = "silence"
GARBAGE = "garbage"
STALL = "stall"  # the reply as it should be, and from then on nothing is read


class Always:
    """A fault that holds for every command of its stage; a list holds for one command each."""

    def __init__(self, fault):
        self.fault = fault


@dataclass
class Message:
    sender: bytes
    sender_parameters: list
    recipients: list  # of (address, parameters)
    helo: bytes
    extended: bool
    via: str  # DATA or BDAT
    connection: int
    tls: str  # the protocol, such as TLSv1.3; empty in clear
    content: bytes = b""
    arrived: float = 0.0  # when it was whole, by the monotonic clock

    @property
    def addresses(self):
        return [address.decode() for address, _ in self.recipients]

    def without_trace(self):
        """The content below the Received field that Elemta adds. Fails if there is none."""
        found = re.match(rb"Received:(?:[^\r\n]|\r\n[ \t])*\r\n", self.content)
        if not found:
            raise AssertionError(f"no Received field on top of {self.content[:200]!r}")
        return self.content[found.end() :]

    @property
    def trace(self):
        return self.content[: len(self.content) - len(self.without_trace())]


@dataclass
class Transcript:
    number: int
    commands: list = field(default_factory=list)
    # Commands that came before the reply to the one before them had been sent.
    pipelined: int = 0
    # Those of `commands` that came inside TLS.
    secure: list = field(default_factory=list)


class Finished(Exception):
    """This connection is over."""


class Sink:
    """Listens on an address of its own choosing until it is closed.

    With `tls`, a server's context (`Pair.server_context`), STARTTLS is offered too; `inside` is what is offered inside
    TLS, the same as outside unless it is given. `users` maps names to passwords, for AUTH.

    `faults` maps a stage (connect, ehlo, helo, starttls, handshake, auth, mail, rcpt, data, content, bdat,
    rset, quit) to a list of faults, used up one a command; to `Always(fault)`; or to a function of the
    argument that returns a fault or None. A fault is a whole reply (bytes) or CLOSE, SILENCE, GARBAGE, STALL; for
    `handshake` the octets that come instead of one.
    """

    def __init__(self, extensions=EVERYTHING, faults=None, address=("127.0.0.1", 0), listening=True,
                 tls=None, inside=None, users=None):
        self.extensions = extensions
        self.inside = extensions if inside is None else inside
        self.tls = tls
        self.users = users or {}
        self.faults = faults or {}
        self.messages = []
        self.transcripts = []
        self.lock = threading.Lock()
        self.closing = False
        self.closed = threading.Event()
        self.accepting = None
        self.open_sockets = set()
        self.most_open = 0
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        # Bound but not listening, the port is ours and connections to it are refused.
        self.listener = socket.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address)
        self.host, self.port = self.listener.getsockname()[:2]
        if listening:
            self.listen()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def route(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"smtp://{host}:{self.port}"

    def listen(self):
        self.listener.listen(1024)
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def close(self):
        self.closing = True
        self.closed.set()
        with self.lock:
            sockets = list(self.open_sockets)
        for open_socket in [self.listener, *sockets]:
            try:
                open_socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.listener.close()
        if self.accepting:
            # Until its accept has returned the port isn't free.
            self.accepting.join(10)

    def wait_for(self, count, seconds=20):
        """The messages, once there are `count` of them."""
        until(
            lambda: len(self.messages) >= count,
            f"{count} messages at the sink, which has {len(self.messages)}",
            seconds,
        )
        return list(self.messages)

    @property
    def commands(self):
        """Every command line of every connection, in the order of connections."""
        return [command for transcript in self.transcripts for command in transcript.commands]

    def _accept(self):
        while not self.closing:
            try:
                connection, _ = self.listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                return
            with self.lock:
                self.open_sockets.add(connection)
                self.most_open = max(self.most_open, len(self.open_sockets))
                transcript = Transcript(len(self.transcripts))
                self.transcripts.append(transcript)
            conversation = Conversation(self, connection, transcript)
            threading.Thread(target=conversation.run, daemon=True).start()


class Conversation:
    def __init__(self, sink, connection, transcript):
        self.sink = sink
        self.socket = connection
        self.transcript = transcript
        self.unread = bytearray()
        self.helo, self.extended = b"", False
        self.message = None
        self.tls = ""

    def run(self):
        try:
            self.answer("connect", b"", b"220 sink.example.net ESMTP\r\n")
            while True:
                self.serve(self.line())
        except (Finished, OSError):
            pass
        finally:
            self.socket.close()
            with self.sink.lock:
                self.sink.open_sockets.discard(self.socket)

    def more(self):
        octets = self.socket.recv(262144)
        if not octets:
            raise Finished
        self.unread += octets

    def line(self, is_command=True):
        while (end := self.unread.find(b"\r\n")) < 0:
            self.more()
        line = bytes(self.unread[:end])
        del self.unread[: end + 2]
        if is_command:
            self.transcript.commands.append(line)
            if self.tls:
                self.transcript.secure.append(line)
        return line

    def exactly(self, count):
        while len(self.unread) < count:
            self.more()
        octets = bytes(self.unread[:count])
        del self.unread[:count]
        return octets

    def fault(self, stage, argument):
        faults = self.sink.faults.get(stage)
        if isinstance(faults, Always):
            return faults.fault
        if callable(faults):
            return faults(argument)
        with self.sink.lock:
            return faults.pop(0) if faults else None

    def answer(self, stage, argument, reply):
        """Sends the reply, or what the script of faults has instead. Whether all is well."""
        return self.respond(self.fault(stage, argument), reply)

    def respond(self, fault, reply):
        if self.unread or self.is_readable():
            self.transcript.pipelined += 1
        if fault == CLOSE:
            raise Finished
        if fault == SILENCE:
            while True:
                self.more()
        if fault == GARBAGE:
            self.socket.sendall(b"\xff\x00\r no reply at all " * 400 + b"\r\n")
            return False
        if fault == STALL:
            self.socket.sendall(reply)
            self.sink.closed.wait()
            raise Finished
        self.socket.sendall(fault or reply)
        return is_positive(fault)

    def is_readable(self):
        if self.tls:
            return self.socket.pending() > 0
        if not select.select([self.socket], [], [], 0)[0]:
            return False
        return bool(self.socket.recv(1, socket.MSG_PEEK))

    def serve(self, line):
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        if verb == b"EHLO":
            words = list(self.sink.inside if self.tls else self.sink.extensions)
            if self.sink.tls and not self.tls:
                words.append("STARTTLS")
            keywords = [b"sink.example.net", *(word.encode() for word in words)]
            lines = [b"250-" + word for word in keywords]
            lines[-1] = b"250 " + keywords[-1]
            if self.answer("ehlo", argument, b"\r\n".join(lines) + b"\r\n"):
                self.helo, self.extended = argument, True
        elif verb == b"HELO":
            if self.answer("helo", argument, b"250 sink.example.net\r\n"):
                self.helo, self.extended = argument, False
        elif verb == b"STARTTLS" and self.sink.tls and not self.tls:
            if self.answer("starttls", argument, b"220 2.0.0 Go on\r\n"):
                self.handshake()
        elif verb == b"AUTH":
            self.log_in(argument)
        elif verb == b"MAIL":
            self.message = None
            path, parameters = path_and_parameters(argument)
            if self.answer("mail", argument, b"250 2.1.0 OK\r\n"):
                self.message = Message(
                    path, parameters, [], self.helo, self.extended, "", self.transcript.number, self.tls
                )
        elif verb == b"RCPT":
            if self.answer("rcpt", argument, b"250 2.1.5 OK\r\n") and self.message:
                self.message.recipients.append(path_and_parameters(argument))
        elif verb == b"DATA":
            self.data(argument)
        elif verb == b"BDAT":
            self.chunk(argument)
        elif verb == b"RSET":
            self.message = None
            self.answer("rset", argument, b"250 2.0.0 OK\r\n")
        elif verb == b"NOOP":
            self.answer("noop", argument, b"250 2.0.0 OK\r\n")
        elif verb == b"QUIT":
            self.answer("quit", argument, b"221 2.0.0 Bye\r\n")
            raise Finished
        else:
            self.answer("unknown", line, b"500 5.5.1 Unknown command\r\n")

    def handshake(self):
        fault = self.fault("handshake", b"")
        if isinstance(fault, bytes):
            # In the middle of what the client takes for a handshake.
            self.more()
            self.socket.sendall(fault)
            fault = SILENCE
        if fault is not None:
            self.respond(fault, b"")
        plain = self.socket
        try:
            self.socket = self.sink.tls.wrap_socket(plain, server_side=True)
        except OSError as error:
            plain.close()
            raise Finished from error
        finally:
            with self.sink.lock:
                self.sink.open_sockets.discard(plain)
                self.sink.open_sockets.add(self.socket)
        self.tls = self.socket.version()
        self.helo, self.extended, self.unread = b"", False, bytearray()

    def log_in(self, argument):
        mechanism, _, initial = argument.partition(b" ")
        if mechanism.upper() == b"PLAIN":
            response = initial or self.challenge(b"")
            _, user, password = base64.b64decode(response).split(b"\0")
        else:
            user = base64.b64decode(self.challenge(b"VXNlcm5hbWU6"))
            password = base64.b64decode(self.challenge(b"UGFzc3dvcmQ6"))
        known = self.sink.users.get(user.decode()) == password.decode()
        self.answer("auth", argument, b"235 2.7.0 Welcome\r\n" if known else b"535 5.7.8 No such user or password\r\n")

    def challenge(self, text):
        self.socket.sendall(b"334 " + text + b"\r\n")
        return self.line(is_command=False)

    def data(self, argument):
        if not self.message or not self.message.recipients:
            self.answer("data", argument, b"503 5.5.1 No valid recipients\r\n")
            return
        if not self.answer("data", argument, b"354 Go on\r\n"):
            return
        # Only CRLF.CRLF ends the data; a faithful client needs no leniency.
        searched = 0
        while True:
            if self.unread.startswith(b".\r\n"):
                end, skipped = 0, 3
                break
            found = self.unread.find(b"\r\n.\r\n", searched)
            if found >= 0:
                end, skipped = found + 2, 5 - 2
                break
            searched = max(len(self.unread) - 4, 0)
            self.more()
        wire = self.exactly(end)
        self.exactly(skipped)
        self.message.via = "DATA"
        self.message.content = unstuffed(wire)
        self.finish(argument)

    def chunk(self, argument):
        words = argument.split()
        octets = self.exactly(int(words[0]))
        if not self.message or not self.message.recipients:
            self.answer("bdat", argument, b"503 5.5.1 No valid recipients\r\n")
            return
        self.message.via = "BDAT"
        self.message.content += octets
        if words[1:]:
            self.finish(argument)
        elif not self.answer("bdat", argument, b"250 2.0.0 chunk\r\n"):
            self.message = None

    def finish(self, argument):
        message, self.message = self.message, None
        fault = self.fault("content", argument)
        if is_positive(fault):
            # Kept before the reply: whoever sees the 250 finds it here.
            with self.sink.lock:
                message.arrived = time.monotonic()
                self.sink.messages.append(message)
        self.respond(fault, b"250 2.0.0 kept\r\n")


def is_positive(fault):
    return fault is None or (isinstance(fault, bytes) and fault[:1] in b"23")


def path_and_parameters(argument):
    """The path between the angle brackets after FROM: or TO:, and the parameters behind it."""
    found = re.match(rb'(?i)(?:FROM|TO):<((?:"(?:[^"\\]|\\.)*"|[^">])*)>(.*)\Z', argument, re.S)
    if not found:
        raise AssertionError(f"not a path: {argument!r}")
    return found[1], found[2].split()
