#!/usr/bin/env python3
"""Checks the authentication of a running SMTP server: what it offers, refuses and accepts.

    python3 test_smtp_auth.py                         the server of `make run`
    python3 test_smtp_auth.py --starttls --user alice@example.com --password "open sesame"

Without --user no login can succeed, and only refusals are checked. Exit status 0 when everything is as
it should be, else 1. Nothing but Python's standard library.
"""

import base64
import smtplib
import uuid

from harness import checks
from harness.checks import Failed, connected


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def plain(user, password):
    return encoded(f"\0{user}\0{password}")


def refused_here(arguments):
    """AUTH is refused where it is not offered."""
    with connected(arguments, log_in=False) as connection:
        reply = connection.expect("AUTH PLAIN", "502 5.5.1", "538 5.7.11")
        return reply


def mechanisms(arguments):
    """PLAIN or LOGIN is offered."""
    with connected(arguments, log_in=False) as connection:
        offered = connection.esmtp_features["auth"].split()
        if not {"PLAIN", "LOGIN"} & set(offered):
            raise Failed(f"offered: {' '.join(offered)}")
        return " ".join(offered)


def unknown_mechanism(arguments):
    """An unknown mechanism is refused."""
    with connected(arguments, log_in=False) as connection:
        connection.expect("AUTH NONSENSE", "504 5.5.4")


def cancelled(arguments):
    """A login can be cancelled, and nonsense is no login."""
    with connected(arguments, log_in=False) as connection:
        for mechanism in offered(connection):
            connection.expect(f"AUTH {mechanism}", "334")
            connection.expect("*", "501 5.7.0")
            connection.expect(f"AUTH {mechanism}", "334")
            connection.expect("not base 64!", "501 5.5.2")
        connection.expect("NOOP", "250")


def wrong_password(arguments):
    """Wrong credentials are refused."""
    # A name that nobody has: guessing at a real one would slow its owner down.
    with connected(arguments, log_in=False) as connection:
        try:
            connection.login(f"nobody-{uuid.uuid4()}", "wrong")
        except smtplib.SMTPAuthenticationError as error:
            if error.smtp_code != 535:
                raise
            return f"535 {error.smtp_error.decode(errors='replace')}"
        raise Failed("anybody can log in")


def by_each_mechanism(arguments):
    """The user logs in by each mechanism."""
    with connected(arguments, log_in=False) as connection:
        known = offered(connection)
    for mechanism in known:
        with connected(arguments, log_in=False) as connection:
            if mechanism == "PLAIN":
                connection.expect("AUTH PLAIN", "334")
                connection.expect_login(plain(arguments.user, arguments.password))
            else:
                connection.expect("AUTH LOGIN", "334 VXNlcm5hbWU6")
                connection.send(encoded(arguments.user).encode() + b"\r\n")
                connection.expect_reply("AUTH", "334 UGFzc3dvcmQ6")
                connection.expect_login(encoded(arguments.password))
    return " ".join(known)


def initial_response(arguments):
    """PLAIN takes its initial response."""
    with connected(arguments, log_in=False) as connection:
        if "PLAIN" not in offered(connection):
            return "PLAIN isn't offered"
        connection.expect(f"AUTH PLAIN {plain(arguments.user, arguments.password)}", "235 2.7.0")


def once(arguments):
    """A login lasts, through RSET too, and a second one is refused."""
    with connected(arguments) as connection:
        connection.expect("RSET", "250")
        for mechanism in offered(connection):
            connection.expect(f"AUTH {mechanism}", "503 5.5.1")


def message(arguments):
    """A message of the user's is accepted."""
    text = f"From: <{arguments.sender}>\r\nTo: <{arguments.recipient}>\r\nSubject: test_smtp_auth.py\r\n\r\nA line.\r\n"
    with connected(arguments) as connection:
        connection.sendmail(arguments.sender, [arguments.recipient], text, rcpt_options=["NOTIFY=NEVER"])
        return connection.last


def offered(connection):
    words = connection.esmtp_features["auth"].split()
    return [word for word in ("PLAIN", "LOGIN") if word in words]


def all_checks(arguments):
    """By what the server offers; nothing is logged in for that."""
    with connected(arguments, log_in=False) as connection:
        if not connection.has_extn("auth"):
            if arguments.user is not None:
                where = "" if arguments.starttls else " in clear text (is --starttls needed?)"
                raise Failed(f"AUTH isn't offered{where}: is auth.enabled set?")
            return [refused_here]
    refusals = [mechanisms, unknown_mechanism, cancelled, wrong_password]
    if arguments.user is None:
        return refusals
    return [*refusals, by_each_mechanism, initial_response, once, message]


if __name__ == "__main__":
    options = checks.parse(__doc__)
    if options.user is not None and "@" in options.user and options.sender.endswith(".invalid"):
        # Users may be allowed to send from their own addresses only.
        options.sender = options.user
    raise SystemExit(checks.run(options, all_checks))
