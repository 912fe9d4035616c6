"""What dev mode adds to the dialogue: XDEBUG, and trouble that addresses ask for."""

import base64
import json
import select
import time

from harness.case import STRANGER
from harness.certificates import Authority
from harness.client import Closed
from harness.development import LETTER, UUID, DevelopmentCase

ASKED = "As the address of a recipient has asked for"


class Debug(DevelopmentCase):
    """XDEBUG, octet for octet."""

    def assertSays(self, client, command, *lines):
        client.send(command.encode() + b"\r\n")
        expected = [f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"]
        self.assertEqual(client.reply().octets.decode(), "".join(f"{line}\r\n" for line in expected))

    def everything(self, client, session, state="INIT", sender="", recipients="", context=""):
        host, port = client.socket.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        lines = [
            "Debug information:", f"Session ID: {session}", f"Client IP: {address}:{port}",
            "Hostname: mail.example.com", f"State: {state}", f"Mail From: {sender}",
            f"Rcpt To: {recipients}", f"Context: {context}",
        ]
        self.assertSays(client, "XDEBUG", *[line.rstrip(" ") for line in lines])

    def session(self, client):
        said = client.command("XDEBUG CONNECTION").texts[0]
        self.assertRegex(said, rf"\ASession ID: {UUID}\Z")
        return said.removeprefix("Session ID: ")

    def test_every_state_is_told(self):
        server = self.developer()
        client = self.client(server, hello=None)
        session = self.session(client)
        self.everything(client, session)
        self.assertReply(client.ehlo("app.example.org"), "250")
        helo = "helo=app.example.org"
        self.everything(client, session, context=helo)
        client.command("MAIL FROM:<a@example.org> SIZE=100 BODY=8BITMIME")
        used = f"{helo} extensions=SIZE,8BITMIME"
        self.everything(client, session, "MAIL", "<a@example.org>", context=used)
        client.command("RCPT TO:<b@one.example>")
        client.command("RCPT TO:<c@two.example>")
        both = "<b@one.example>, <c@two.example>"
        self.everything(client, session, "RCPT", "<a@example.org>", both, used)
        client.send(b"BDAT 5\r\nSubje")
        self.assertReply(client.reply(), "250")
        self.everything(client, session, "DATA", "<a@example.org>", both,
                        f"{helo} extensions=CHUNKING,SIZE,8BITMIME")
        client.send(b"BDAT 10 LAST\r\nct: b\r\n\r\nx")
        self.assertReply(client.reply(), "250 2.0.0")
        self.everything(client, session, context=f"{helo} messages=1")
        client.command("NONSENSE")
        self.everything(client, session, context=f"{helo} messages=1 errors=1")
        client.command("RSET")
        client.command("MAIL FROM:<>")
        self.everything(client, session, "MAIL", "<>", context=f"{helo} messages=1 errors=1")
        self.assertEqual(self.until_captured(server, 1)[0]["session"], session)

    def test_the_views_are_parts_of_it(self):
        client = self.client(self.developer(), hello="app.example.org")
        session = self.session(client)
        port = client.socket.getsockname()[1]
        client.envelope("a@example.org", ["b@one.example"])
        self.assertSays(client, "XDEBUG STATE", "State: RCPT", "Mail From: <a@example.org>",
                        "Rcpt To: <b@one.example>")
        self.assertSays(client, "xdebug connection", f"Session ID: {session}",
                        f"Client IP: 127.0.0.1:{port}", "Hostname: mail.example.com")
        self.assertSays(client, "XDEBUG CONTEXT", "Context: helo=app.example.org")
        self.assertSays(
            client, "XDEBUG HELP", "XDEBUG: everything", "XDEBUG STATE: where the transaction is",
            "XDEBUG CONNECTION: who talks to whom",
            "XDEBUG CONTEXT: greeting, TLS, login, extensions in use, counters",
            "XDEBUG HELP: this")
        self.assertReply(client.command("XDEBUG NOTHING"), "501 5.5.4")
        self.assertIn("XDEBUG", client.command("HELP").octets.decode())

    def test_an_ipv6_client_is_told_in_brackets(self):
        self.needs_ipv6()
        client = self.client(self.developer({"listen_addr": "[::1]:0"}), hello=None)
        self.everything(client, self.session(client))

    def test_sessions_have_names_of_their_own(self):
        server = self.developer()
        names = {self.session(self.client(server)) for _ in range(20)}
        self.assertEqual(len(names), 20)

    def test_a_reply_line_never_passes_512_octets(self):
        client = self.client(self.developer())
        client.envelope("a@example.org", [f"{'x' * 60}{number}@one.example" for number in range(40)])
        reply = client.command("XDEBUG STATE")
        self.assertLessEqual(max(map(len, reply.octets.split(b"\n"))), 511)
        named = reply.texts[-1].count("@one.example")
        self.assertTrue(reply.texts[-1].endswith(f" and {40 - named} more"), reply.texts[-1])

    def test_tls_and_login_are_told(self):
        authority = Authority(self.directory())
        users = self.directory() / "users.json"
        users.write_text(json.dumps({"users": [{"username": "al ice", "password": "{PLAIN}secret"}]}))
        server = self.developer({
            "tls": {"enabled": True, **authority.pair().settings},
            "auth": {"enabled": True, "file_path": str(users)},
        })
        client = self.client(server, STRANGER, hello=None)
        client.starttls(authority.client_context())
        client.ehlo("app.example.org")
        credentials = base64.b64encode(b"\0al ice\0secret").decode()
        self.assertReply(client.command(f"AUTH PLAIN {credentials}"), "235")
        cipher, protocol = client.socket.cipher()[:2]
        self.assertSays(
            client, "XDEBUG CONTEXT",
            f"Context: helo=app.example.org tls={protocol} cipher={cipher} auth=al_ice")
        # As in production: who has logged in may send anywhere.
        self.assertReply(client.message("a@example.org", ["b@far.example"], LETTER), "250")
        self.assertEqual(self.until_captured(server, 1)[0]["protocol"], "ESMTPSA")

    def test_outside_dev_mode_there_is_none(self):
        client = self.client(self.server(), hello=None)
        self.assertNotIn("XDEBUG", client.ehlo().octets.decode())
        self.assertNotIn("XDEBUG", client.command("HELP").octets.decode())
        for command in ("XDEBUG", "XDEBUG STATE", "XDEBUG HELP"):
            self.assertReply(client.command(command), "502 5.5.1")

    def test_in_dev_mode_it_is_offered(self):
        client = self.client(self.developer(), hello=None)
        self.assertIn("XDEBUG", client.ehlo().texts)


class Trouble(DevelopmentCase):
    """Addresses that ask for it."""

    def test_a_recipient_is_refused(self):
        client = self.client(self.developer())
        self.assertDialogue(
            client, ("MAIL FROM:<a@example.org>", "250"),
            ("RCPT TO:<reject-550@one.example>", f"550 5.0.0 {ASKED}"),
            ("RCPT TO:<Reject-553@one.example>", f"553 5.0.0 {ASKED}"),
            ("RCPT TO:<defer-451@one.example>", f"451 4.0.0 {ASKED}"),
            ("RCPT TO:<defer-450@one.example>", f"450 4.0.0 {ASKED}"),
            ("RCPT TO:<reject-250@one.example>", "250"), ("RCPT TO:<defer-550@one.example>", "250"))
        self.assertReply(client.data(LETTER), "250")

    def test_content_is_refused_and_not_kept(self):
        server = self.developer()
        client = self.client(server)
        for via in ("DATA", "BDAT"):
            for code, status in ((554, "5.0.0"), (452, "4.0.0")):
                reply = client.message(
                    "a@example.org", ["ok@one.example", f"data-{code}@one.example"], LETTER, via=via)
                self.assertReply(reply, f"{code} {status} {ASKED}")
        self.assertReply(client.message("a@example.org", ["ok@one.example"], LETTER), "250")
        self.assertEqual(len(self.until_captured(server, 1)), 1)
        self.assertEqual(len(server.queue()), 1)

    def test_an_answer_comes_late_and_nobody_else_waits(self):
        server = self.developer()
        client, other = self.client(server), self.client(server)
        client.command("MAIL FROM:<a@example.org>")
        began = time.monotonic()
        client.send(b"RCPT TO:<delay-3s@one.example>\r\n")
        self.assertReply(other.message("a@example.org", ["b@one.example"], LETTER), "250")
        self.assertEqual(select.select([client.socket], [], [], 0)[0], [], "answered at once")
        self.assertReply(client.reply(), "250 2.1.5")
        self.assertGreater(time.monotonic() - began, 2.9)
        self.assertReply(client.data(LETTER), "250")

    def test_the_connection_is_dropped(self):
        server = self.developer()
        client = self.client(server)
        client.command("MAIL FROM:<a@example.org>")
        with self.assertRaises(Closed):
            client.command("RCPT TO:<drop@one.example>")
        self.assertReply(self.client(server).command("NOOP"), "250")

    def test_421_closes(self):
        client = self.client(self.developer())
        client.command("MAIL FROM:<a@example.org>")
        self.assertReply(client.command("RCPT TO:<defer-421@one.example>"), "421 4.0.0")
        self.assertTrue(client.is_closed())

    def test_outside_dev_mode_they_are_addresses_like_all_others(self):
        client = self.client(self.server())
        recipients = ["reject-550@one.example", "defer-451@one.example", "data-554@one.example",
                      "delay-600s@one.example", "drop@one.example"]
        self.assertReply(client.message("a@example.org", recipients, LETTER), "250")
