#!/usr/bin/env python3
"""Checks a running SMTP server: greeting, extensions, commands, refusals, messages.

    python3 test_smtp.py                              the server of `make run`
    python3 test_smtp.py --host mail.example.com --port 587 --starttls --user alice --to bob@example.com

Exit status 0 when everything is as it should be, else 1. Nothing but Python's standard library.
"""

import email.message
import email.policy
import email.utils
import uuid

from harness import checks
from harness.checks import Failed, connected

# Messages are sent with NOTIFY=NEVER: nobody is to get a bounce from a test.
EXTENSIONS = ("size", "8bitmime", "smtputf8", "enhancedstatuscodes", "chunking", "dsn", "pipelining")


def greeting(arguments):
    """The server greets and says goodbye."""
    with connected(arguments, log_in=False) as connection:
        text = connection.greeting
        connection.expect("QUIT", "221 2.0.0")
        return text


def extensions(arguments):
    """EHLO offers the extensions that everybody expects."""
    with connected(arguments) as connection:
        if missing := [word.upper() for word in EXTENSIONS if not connection.has_extn(word)]:
            raise Failed(f"not offered: {' '.join(missing)}")
        return " ".join(sorted(word.upper() for word in connection.esmtp_features))


def tls(arguments):
    """STARTTLS encrypts and is not offered twice."""
    with connected(arguments, log_in=False) as connection:
        if connection.has_extn("starttls"):
            raise Failed("STARTTLS is offered inside TLS")
        connection.expect("STARTTLS", "503 5.5.1")
        return " ".join(connection.sock.cipher()[1::-1])


def helo(arguments):
    """HELO is answered as of old."""
    with connected(arguments, log_in=False) as connection:
        connection.expect("HELO localhost", "250 ")


def small_commands(arguments):
    """NOOP, RSET, VRFY and HELP are answered."""
    with connected(arguments) as connection:
        for command, beginning in (("NOOP", "250"), ("RSET", "250"), ("VRFY postmaster", "25"), ("HELP", "214")):
            connection.expect(command, beginning)


def wrong_commands(arguments):
    """Unknown commands and wrong order are refused."""
    with connected(arguments) as connection:
        connection.expect("NONSENSE", "500 5.5.1")
        connection.expect("RCPT TO:<postmaster>", "503 5.5.1")
        connection.expect("DATA", "503 5.5.1")
        connection.expect("NOOP", "250")


def wrong_addresses(arguments):
    """Addresses that are none are refused."""
    with connected(arguments) as connection:
        connection.expect("MAIL FROM:<not an address>", "501 5.1.7")
        connection.expect(f"MAIL FROM:<{arguments.sender}>", "250 2.1.0")
        connection.expect("RCPT TO:<@>", "501 5.1.3")
        connection.expect("RSET", "250")


def too_large(arguments):
    """A message over the size limit is refused before it is sent."""
    with connected(arguments) as connection:
        limit = int(connection.esmtp_features["size"] or 0)
        if not limit:
            return "there is no limit"
        connection.expect(f"MAIL FROM:<{arguments.sender}> SIZE={limit + 1}", "552 5.3.4")
        return f"limit {limit}"


def message(arguments):
    """A message is accepted."""
    text = email.message.EmailMessage(policy=email.policy.SMTP)
    text["From"], text["To"] = arguments.sender, arguments.recipient
    text["Subject"] = f"test_smtp.py {uuid.uuid4()}"
    text["Date"], text["Message-ID"] = email.utils.localtime(), email.utils.make_msgid(domain="elemta.invalid")
    text.set_content("A line.\n.\n..\nA line that begins with dots, twice.\n")
    with connected(arguments) as connection:
        connection.send_message(text, arguments.sender, [arguments.recipient], rcpt_options=["NOTIFY=NEVER"])
        return connection.last


def pipelined_message(arguments):
    """A message is accepted when its commands come all at once."""
    commands = f"MAIL FROM:<{arguments.sender}>\r\nRCPT TO:<{arguments.recipient}> NOTIFY=NEVER\r\nDATA\r\n"
    with connected(arguments) as connection:
        connection.send(commands.encode())
        for command, beginning in (("MAIL", "250 2.1.0"), ("RCPT", "250 2.1.5"), ("DATA", "354")):
            connection.expect_reply(command, beginning)
        connection.send(b"Subject: test_smtp.py, pipelined\r\n\r\nA line.\r\n.\r\n")
        return connection.expect_reply("the end of the message", "250 2.0.0")[4:]


def chunked_message(arguments):
    """A message is accepted in chunks (BDAT)."""
    first, last = b"Subject: test_smtp.py, in chunks\r\n\r\n", b"No dot ends this.\r\n"
    with connected(arguments) as connection:
        connection.expect(f"MAIL FROM:<{arguments.sender}> BODY=8BITMIME", "250 2.1.0")
        connection.expect(f"RCPT TO:<{arguments.recipient}> NOTIFY=NEVER", "250 2.1.5")
        connection.send(b"BDAT %d\r\n%sBDAT %d LAST\r\n%s" % (len(first), first, len(last), last))
        connection.expect_reply("BDAT", "250")
        return connection.expect_reply("BDAT LAST", "250 2.0.0")[4:]


def bare_newlines(arguments):
    """A bare LF never ends a message (SMTP smuggling)."""
    with connected(arguments) as connection:
        connection.expect(f"MAIL FROM:<{arguments.sender}>", "250 2.1.0")
        connection.expect(f"RCPT TO:<{arguments.recipient}>", "250 2.1.5")
        connection.expect("DATA", "354")
        connection.send(b"Subject: test_smtp.py\r\n\r\nA line.\n.\nMAIL FROM:<smuggled@elemta.invalid>\r\n.\r\n")
        reply = connection.expect_reply("the end of the message", "550 5.6.11", "250 2.0.0")
        # One reply, whatever it is: a second would be to the smuggled command.
        connection.expect("NOOP", "250 2.0.0")
        return reply


def all_checks(arguments):
    inside = [tls] if arguments.starttls else []
    return [greeting, *inside, extensions, helo, small_commands, wrong_commands, wrong_addresses, too_large, message,
            pipelined_message, chunked_message, bare_newlines]


if __name__ == "__main__":
    options = checks.parse(__doc__)
    raise SystemExit(checks.run(options, all_checks))
