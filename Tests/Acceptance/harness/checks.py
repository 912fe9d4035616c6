"""What test_smtp.py and test_smtp_auth.py share: options, connections, a line for each check.

Standard library only, and nothing of the rest of the harness: the two scripts are for everybody.
"""

import argparse
import getpass
import smtplib
import ssl


class Failed(Exception):
    """The server didn't do what it should; the text says what it did."""


# What a check may end with.
TROUBLE = (Failed, smtplib.SMTPException, OSError)


def parse(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="localhost", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=2525, help="default: %(default)s")
    parser.add_argument("--starttls", action="store_true", help="do everything inside TLS")
    parser.add_argument("--ca-file", metavar="FILE",
                        help="with --starttls: verify the server's certificate by these authorities; without it "
                        "a certificate that signs itself is fine")
    parser.add_argument("--user", help="log in with this name")
    parser.add_argument("--password", help="asked for when it isn't given")
    # Nothing is ever delivered to .invalid (RFC 2606).
    parser.add_argument("--from", dest="sender", default="sender@elemta.invalid", metavar="ADDRESS",
                        help="default: %(default)s")
    parser.add_argument("--to", dest="recipient", default="recipient@elemta.invalid", metavar="ADDRESS",
                        help="default: %(default)s, which nobody ever gets")
    parser.add_argument("--timeout", type=float, default=30, metavar="SECONDS", help="for a reply; default: %(default)g")
    arguments = parser.parse_args()
    if arguments.user is not None and arguments.password is None:
        arguments.password = getpass.getpass(f"Password of {arguments.user}: ")
    return arguments


class Connection(smtplib.SMTP):
    """A session with the server, which has greeted with 220; `last` is its last reply's text."""

    def __init__(self, arguments):
        self.last = ""
        super().__init__(arguments.host, arguments.port, local_hostname="localhost", timeout=arguments.timeout)
        self.greeting = self.last

    def getreply(self):
        code, text = super().getreply()
        self.last = text.decode(errors="replace")
        return code, text

    def introduce(self):
        if self.ehlo()[0] != 250:
            raise Failed(f"EHLO: {self.last!r}")

    def expect(self, command, *beginnings):
        """Sends a command; the reply must begin with one of these, like `503 5.5.1`."""
        # Not by putcmd, which refuses what a hostile client would send.
        self.send(command.encode() + b"\r\n")
        return self.expect_reply(command, *beginnings)

    def expect_login(self, response):
        """Sends the last response of a login, which must succeed."""
        self.send(response.encode() + b"\r\n")
        return self.expect_reply("AUTH", "235 2.7.0")

    def expect_reply(self, command, *beginnings):
        code, _ = self.getreply()
        reply = f"{code} {self.last}"
        if not reply.startswith(beginnings):
            # What a client says to log in is nobody's business.
            shown = command if not command.upper().startswith("AUTH") else "AUTH"
            raise Failed(f"{shown}: {reply!r} instead of {' or '.join(beginnings)}")
        return reply


def connected(arguments, log_in=True):
    """A session that has said EHLO, inside TLS with --starttls, logged in with --user."""
    connection = Connection(arguments)
    connection.introduce()
    if arguments.starttls:
        if not connection.has_extn("starttls"):
            raise Failed("STARTTLS isn't offered: is tls.enabled set?")
        connection.starttls(context=tls_context(arguments))
        connection.introduce()
    if log_in and arguments.user is not None:
        if not connection.has_extn("auth"):
            raise Failed("AUTH isn't offered" + ("" if arguments.starttls else " here: is --starttls needed?"))
        connection.login(arguments.user, arguments.password)
    return connection


def tls_context(arguments):
    context = ssl.create_default_context(cafile=arguments.ca_file)
    if not arguments.ca_file:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def run(arguments, choose):
    """Runs the checks that `choose(arguments)` returns; the exit status.

    A check is a function of the arguments that returns a word more or None; its documentation is
    its name.
    """
    print(f"{arguments.host}:{arguments.port}{', inside TLS' if arguments.starttls else ''}"
          f"{f', as {arguments.user}' if arguments.user is not None else ''}")
    try:
        Connection(arguments).close()
    except smtplib.SMTPException as error:
        print(f"FAILED  no greeting: {said(error)}")
        return 1
    except OSError as error:
        print(f"FAILED  nobody answers there: {error}\n\nIs the server running (make run)?")
        return 1
    try:
        chosen = choose(arguments)
    except TROUBLE as error:
        print(f"FAILED  {said(error)}")
        return 1
    failed = 0
    for check in chosen:
        name = check.__doc__.splitlines()[0].rstrip(".")
        try:
            more = check(arguments)
        except TROUBLE as error:
            failed += 1
            print(f"FAILED  {name}: {said(error)}", flush=True)
        else:
            print(f"ok      {name}{f': {more}' if more else ''}", flush=True)
    print(f"\n{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


def said(error):
    """An exception as a person would say it."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{code} {text.decode(errors='replace')}" for code, text in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
    return str(error) or type(error).__name__
