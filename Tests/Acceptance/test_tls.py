"""STARTTLS and implicit TLS: what other people's programs and the RFCs expect of them."""

import re
import smtplib
import socket
import ssl

from harness import tools
from harness.case import STRANGER, Case, SharedServerCase, WithCertificates, unique, with_tls
from harness.client import Client
from harness.records import RecordClient
from harness.tools import can_bind

PROTOCOL_AND_CIPHER = r"\(using TLSv1\.[23] with cipher [A-Z0-9_-]+\)"
# What Mozilla's "intermediate" list has for TLS 1.2; those with RSA need an RSA key.
INTERMEDIATE = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-CHACHA20-POLY1305")
OUTDATED = ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-NULL-SHA")


def listeners():
    """STARTTLS and implicit TLS, on IPv4 and, where there is one, on IPv6."""
    hosts = ["127.0.0.1"] + (["[::1]"] if can_bind("::1", 0, socket.AF_INET6) else [])
    return [
        {"address": f"{host}:0", **({"tls": "implicit"} if implicit else {})}
        for host in hosts for implicit in (False, True)
    ]


class Programs(WithCertificates, SharedServerCase):
    configuration = {
        "listen_addr": None, "listeners": listeners(), "allowed_relays": ["127.0.0.1", "::1"]
    }

    def each_address(self):
        """Pairs of an address and whether TLS is implicit there."""
        for number, address in enumerate(self.shared.addresses):
            implicit = number % 2 == 1
            with self.subTest(address=address[0], implicit=implicit):
                yield address, implicit

    def content(self):
        token = unique()
        return token, b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n" % token

    def assertArrivedInside(self, token):
        trace = re.sub(r"\s+", " ", self.arrived(token).trace.decode())
        self.assertRegex(trace, rf"\]\) {PROTOCOL_AND_CIPHER} by mail\.example\.com with ESMTPS id ")

    def test_swaks_sends(self):
        for address, implicit in self.each_address():
            if ":" in address[0]:
                continue  # it takes a library for IPv6 that Debian doesn't install with it
            token, content = self.content()
            said = tools.swaks(
                address, "--tls-on-connect" if implicit else "--tls", "--tls-verify", "--tls-ca-path",
                self.authority.file, "--from", "a@example.org", "--to", "b@example.com", "--data",
                content.decode().replace("\r\n", "\n"),
            )
            self.assertIn("250 2.0.0 Message accepted for delivery", said)
            self.assertArrivedInside(token)

    def test_curl_sends(self):
        for address, implicit in self.each_address():
            token, content = self.content()
            tools.curl(
                address, "--ssl-reqd", "--cacert", self.authority.file, "--mail-from", "a@example.org",
                "--mail-rcpt", "b@example.com", "--upload-file", "-", input=content,
                scheme="smtps" if implicit else "smtp",
            )
            self.assertArrivedInside(token)

    def test_smtplib_sends(self):
        for address, implicit in self.each_address():
            token, content = self.content()
            if implicit:
                client = smtplib.SMTP_SSL(*address, context=self.trusting)
            else:
                client = smtplib.SMTP(*address)
            with client:
                if not implicit:
                    client.starttls(context=self.trusting)
                self.assertEqual(client.sendmail("a@example.org", ["b@example.com"], content), {})
            self.assertArrivedInside(token)

    def test_msmtp_sends(self):
        for address, implicit in self.each_address():
            token, content = self.content()
            tools.msmtp(
                address, "--tls=on", f"--tls-starttls={'off' if implicit else 'on'}",
                f"--tls-trust-file={self.authority.file}", "--auth=off", "--from=a@example.org",
                "b@example.com", input=content,
            )
            self.assertArrivedInside(token)

    def test_openssl_s_client_sends(self):
        for address, implicit in self.each_address():
            token, content = self.content()
            commands = b"EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
            said = tools.s_client(
                address, *([] if implicit else ["-starttls", "smtp"]), "-CAfile", self.authority.file,
                "-verify_return_error", "-quiet", input=commands + content + b".\r\nQUIT\r\n",
            )
            self.assertIn("250 2.0.0 Message accepted for delivery", said)
            self.assertIn("221 2.0.0 Bye", said)
            self.assertArrivedInside(token)


class StartTLS(WithCertificates, SharedServerCase):
    def test_it_is_offered_in_clear_and_not_inside(self):
        client = self.connect(hello=None)
        self.assertIn("250-STARTTLS", client.ehlo().lines)
        client.starttls(self.trusting)
        lines = client.ehlo().lines
        self.assertFalse([line for line in lines if "STARTTLS" in line])
        self.assertDialogue(client, ("STARTTLS", "503 5.5.1"), ("NOOP", "250 2.0.0"))

    def test_it_takes_no_argument_and_no_transaction(self):
        client = self.connect()
        self.assertDialogue(
            client,
            ("STARTTLS now", "501 5.5.4"),
            ("MAIL FROM:<a@example.org>", "250"),
            ("STARTTLS", "503 5.5.1"),
            ("RCPT TO:<b@example.com>", "250"),
            ("STARTTLS", "503 5.5.1"),
            ("RSET", "250"),
        )
        self.secured(client)

    def test_no_greeting_is_sent_again(self):
        client = self.connect().starttls(self.trusting)
        reply = client.command("NOOP")
        self.assertReply(reply, "250 2.0.0")

    def test_the_introduction_is_forgotten(self):
        token = unique()
        client = self.connect(hello="before.example.org").starttls(self.trusting)
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org>", "503 5.5.1"),
            ("EHLO after.example.org", "250"),
        )
        client.message("a@example.org", ["b@example.com"], token + b"\r\n")
        trace = self.arrived(token).trace
        self.assertIn(b"from after.example.org", trace)
        self.assertNotIn(b"before", trace)

    def test_requiretls_is_for_those_inside_only(self):
        client = self.connect(hello=None)
        self.assertNotIn("REQUIRETLS", str(client.ehlo()))
        self.assertDialogue(
            client, ("MAIL FROM:<a@example.org> REQUIRETLS", "530 5.7.0"), ("MAIL FROM:<a@example.org>", "250"),
            ("RSET", "250"),
        )
        client.starttls(self.trusting)
        self.assertIn("250-REQUIRETLS", client.ehlo().lines)
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org> REQUIRETLS=yes", "501 5.5.4"),
            ("MAIL FROM:<a@example.org> REQUIRETLS", "250 2.1.0"),
        )

    def test_help_offers_it_in_clear_only(self):
        client = self.connect()
        self.assertIn("STARTTLS", str(client.command("HELP")))
        self.secured(client)
        self.assertNotIn("STARTTLS", str(client.command("HELP")))

    def test_pipelined_commands_and_content_pass_inside(self):
        client = self.secured(self.connect())
        for via in ("DATA", "BDAT"):
            token = unique()
            content = b"Subject: %s\r\n\r\n" % token + (b"t" * 998 + b"\r\n") * 300
            client.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n")
            self.assertEqual([reply.code for reply in client.replies(2)], [250, 250])
            self.assertReply(client.data(content) if via == "DATA" else client.bdat(content, 70_001), "250")
            self.assertEqual(self.arrived(token).without_trace(), content)

    def test_what_is_spilled_to_a_file_passes_inside(self):
        token = unique()
        content = b"Subject: %s\r\n\r\n" % token + (b"s" * 998 + b"\r\n") * 8000
        client = self.secured(self.connect())
        self.assertReply(client.message("a@example.org", ["b@example.com"], content), "250 2.0.0")
        self.assertEqual(self.arrived(token).without_trace(), content)

    def test_who_says_goodbye_at_once_is_served_to_the_end(self):
        token = unique()
        records = RecordClient(self.connect(), self.trusting)
        records.socket.sendall(b"STARTTLS\r\n")
        self.assertEqual(records.socket.recv(100)[:4], b"220 ")
        records.handshake()
        self.assertEqual(records.command(b"EHLO client.example.org")[:4], b"250 ")
        records.send(
            b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nBDAT %d LAST\r\n%s" % (len(token), token)
        )
        records.close()
        self.assertEqual([records.reply()[:4] for _ in range(3)], [b"250 "] * 3)
        self.assertEqual(self.arrived(token).without_trace(), token)

    def test_421_is_said_inside_and_ends_with_close_notify(self):
        client = self.secured(self.connect())
        client.socket.suppress_ragged_eofs = False
        client.send(b"NONSENSE\r\n" * 21)
        self.assertEqual([reply.code for reply in client.replies(21)], [500] * 20 + [421])
        self.assertEqual(client.socket.recv(1), b"")

    def test_one_octet_a_record_is_as_good_as_any(self):
        client = self.secured(self.connect(), hello=None)
        client.send_each(b"EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\n")
        self.assertEqual([reply.code for reply in client.replies(2)], [250, 250])

    def test_quit_ends_with_close_notify(self):
        # Without it a client can't tell the end from an attacker's cut (RFC 8446 6.1).
        client = self.connect().starttls(self.trusting)
        client.socket.suppress_ragged_eofs = False
        self.assertReply(client.command("QUIT"), "221")
        self.assertEqual(client.socket.recv(1), b"")

    def test_what_received_says_of_it(self):
        client = self.secured(self.connect())
        for sender, parameters, word in (
            ("a@example.org", "", "ESMTPS"), ("jürgen@example.org", " SMTPUTF8", "UTF8SMTPS")
        ):
            token = unique()
            client.message(sender, ["b@example.com"], token + b"\r\n", parameters)
            trace = re.sub(r"\s+", " ", self.arrived(token).trace.decode())
            using = f"(using {client.socket.version()} with cipher {client.socket.cipher()[0]})"
            self.assertIn(f"([127.0.0.1]) {using} by mail.example.com with {word} id ", trace)


class Injection(WithCertificates, SharedServerCase):
    """CVE-2011-0411: what was said in clear text is never taken for what was said inside."""

    commands = b"EHLO evil.example.org\r\nMAIL FROM:<evil@example.org>\r\n"

    def test_octets_behind_starttls_in_its_segment_end_the_connection(self):
        for behind in (self.commands, b"N", b"\x16\x03\x01", b"STARTTLS\r\n"):
            with self.subTest(behind):
                client = self.connect()
                client.send(b"STARTTLS\r\n" + behind)
                self.assertReply(client.reply(), "554 5.5.1")
                self.assertTrue(client.is_closed())

    def test_octets_in_the_next_segment_are_never_executed(self):
        for count in range(20):
            client = self.connect()
            client.send(b"STARTTLS\r\n")
            if count % 2:
                self.assertReply(client.reply(), "220 2.0.0")
            client.send(self.commands)
            said = client.until_closed()
            # What an attacker has put in the way of the handshake ends it: an alert, at the most.
            self.assertRegex(said, rb"(?s)\A(220 2\.0\.0 [^\n]*\n)?(554 5\.5\.1 [^\n]*\n|\x15\x03.{5})?\Z")

    def test_a_handshake_behind_injected_octets_does_not_begin(self):
        client = self.connect()
        client.send(b"STARTTLS\r\n")
        self.assertReply(client.reply(), "220 2.0.0")
        client.send(b"NOOP\r\n")
        with self.assertRaises((ssl.SSLError, OSError)):
            client.handshake(self.trusting)

    def test_half_a_command_before_starttls_is_no_command_after_it(self):
        client = self.connect()
        client.send(b"NO")
        client.send(b"OP\r\nSTARTTLS\r\n")
        self.assertReply(client.reply(), "250")
        self.assertReply(client.reply(), "220")
        client.handshake(self.trusting)
        client.send(b"NOOP\r\n")
        self.assertReply(client.reply(), "250 2.0.0")


class Negotiation(WithCertificates, SharedServerCase):
    configuration = {
        "listen_addr": None,
        "listeners": [{"address": "127.0.0.1:0", "tls": "implicit"}],
    }

    def context(self, version, ciphers="DEFAULT:@SECLEVEL=0"):
        return self.authority.client_context(version, version, ciphers)

    def test_tls_1_2_and_1_3_are_spoken(self):
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            with self.subTest(name):
                client = self.connect(tls=self.context(version))
                self.assertEqual(client.socket.version(), name)
                self.assertIsNone(client.socket.compression())

    def test_older_versions_are_refused(self):
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with self.subTest(version.name):
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    self.connect(tls=self.context(version))

    def test_ciphers_are_those_of_mozillas_intermediate_list(self):
        for cipher in INTERMEDIATE:
            with self.subTest(cipher):
                client = self.connect(tls=self.context(ssl.TLSVersion.TLSv1_2, cipher))
                self.assertEqual(client.socket.cipher()[0], cipher)
        for cipher in OUTDATED:
            with self.subTest(cipher):
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    self.connect(tls=self.context(ssl.TLSVersion.TLSv1_2, f"{cipher}:@SECLEVEL=0"))

    def test_nobody_renegotiates(self):
        said = tools.s_client(
            self.shared.address, "-tls1_2", "-CAfile", self.authority.file, input=b"R\n", status=1
        )
        self.assertIn("RENEGOTIATING", said)
        self.assertIn("no renegotiation", said)

    def test_sessions_resume_by_ticket(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version.name):
                context = self.context(version)
                first = self.connect(tls=context)
                # With TLS 1.3 the ticket comes with the first octets; those have been read.
                session = first.socket.session
                self.assertTrue(session.has_ticket)
                second = Client(self.shared.address, greeted=False)
                self.addCleanup(second.close)
                second.handshake(context, session=session)
                self.assertReply(second.reply(), "220")
                self.assertTrue(second.socket.session_reused)

    def test_the_greeting_waits_for_the_handshake(self):
        client = Client(self.shared.address, greeted=False)
        self.addCleanup(client.close)
        client.socket.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            client.socket.recv(1)

    def test_starttls_inside_is_503(self):
        client = self.connect(hello=None, tls=self.trusting)
        self.assertNotIn("STARTTLS", str(client.ehlo()))
        self.assertDialogue(client, ("STARTTLS", "503 5.5.1"), ("NOOP", "250"))

    def test_clear_text_ends_that_connection_alone(self):
        inside = self.connect(tls=self.trusting)
        client = Client(self.shared.address, greeted=False)
        self.addCleanup(client.close)
        client.send(b"EHLO client.example.org\r\nMAIL FROM:<a@example.org>\r\n")
        self.assertNotIn(b"250", client.until_closed())
        self.assertReply(inside.command("NOOP"), "250")


class Settings(WithCertificates, Case):
    def test_version_1_3_alone(self):
        server = self.server({"tls": {"enabled": True, **self.pair.settings, "min_version": "1.3"}})
        self.assertEqual(self.secured(self.client(server)).socket.version(), "TLSv1.3")
        old = self.authority.client_context(maximum=ssl.TLSVersion.TLSv1_2)
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.client(server).starttls(old)

    def test_a_listener_without_tls_does_not_offer_it(self):
        server = self.server(
            with_tls(self.pair)
            | {"listen_addr": None, "listeners": [{"address": "127.0.0.1:0", "tls": "off"}]}
        )
        client = self.client(server, hello=None)
        self.assertNotIn("STARTTLS", str(client.ehlo()))
        self.assertReply(client.command("STARTTLS"), "502 5.5.1")

    def test_a_stranger_may_relay_no_more_than_in_clear(self):
        server = self.server(with_tls(self.pair))
        client = self.secured(self.client(server, STRANGER))
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org>", "250"),
            ("RCPT TO:<b@example.net>", "554 5.7.1"),
            ("RCPT TO:<b@example.com>", "250"),
        )

    def test_stopping_says_421_inside_and_waits_for_a_transaction(self):
        server = self.server(with_tls(self.pair))
        idle, busy = (self.secured(self.client(server)) for _ in range(2))
        half = self.client(server)
        half.command("STARTTLS")
        busy.envelope("a@example.org", ["b@example.com"])
        server.process.terminate()
        self.assertReply(idle.reply(), "421 4.3.2")
        self.assertEqual(half.until_closed(), b"")
        self.assertReply(busy.data(b"x\r\n"), "250 2.0.0")
        self.assertReply(busy.reply(), "421 4.3.2")
        self.assertEqual(server.wait(10), 0)

    def test_an_idle_client_inside_gets_421_inside(self):
        server = self.server(with_tls(self.pair) | {"limits": {"command_timeout": 1}})
        client = self.secured(self.client(server))
        self.assertReply(client.reply(), "421 4.4.2")
        self.assertTrue(client.is_closed())
