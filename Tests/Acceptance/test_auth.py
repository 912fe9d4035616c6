"""AUTH: the exchange, what a login allows, and other people's programs."""

import re
import smtplib

from harness import tools
from harness.case import STRANGER, Case, SharedServerCase, WithCertificates, discard_routes, unique, with_tls
from harness.client import Client
from harness.server import merged
from harness.users import auth_plain, encoded, plain, sha512crypt, user_list

USER, PASSWORD = "alice@example.com", "open sesame"


def with_users(folder, users, **auth):
    """`auth` with a users file in this folder."""
    file = folder / "users.json"
    file.write_text(user_list(users))
    file.chmod(0o600)
    return {"auth": {"enabled": True, "file_path": str(file), **auth}}


class WithUsers:
    """Before SharedServerCase in a class's bases: a shared server that knows a few users."""

    auth = {}

    @classmethod
    def settle(cls):
        users = {
            USER: sha512crypt(PASSWORD),
            "restricted": (sha512crypt(PASSWORD), ["info@example.com", "@example.net", ".example.edu"]),
            "mistaken": sha512crypt(PASSWORD),
            "jürgen": sha512crypt("pässwörd"),
        }
        cls.configuration = merged(cls.configuration, with_users(cls.shared_directory, users, **cls.auth))


class Exchange(WithUsers, SharedServerCase):
    def test_it_is_offered_with_its_mechanisms(self):
        self.assertIn("250-AUTH PLAIN LOGIN", self.connect(hello=None).ehlo().lines)

    def test_plain_with_its_initial_response(self):
        client = self.connect(STRANGER)
        self.assertReply(client.command(auth_plain(USER, PASSWORD)), "235 2.7.0 ")

    def test_plain_with_a_challenge(self):
        client = self.connect(STRANGER)
        self.assertEqual(client.command("AUTH PLAIN").octets, b"334 \r\n")
        self.assertReply(client.command(plain(USER, PASSWORD)), "235 2.7.0 ")

    def test_login_asks_twice(self):
        client = self.connect(STRANGER)
        self.assertEqual(client.command("AUTH LOGIN").octets, b"334 VXNlcm5hbWU6\r\n")
        self.assertEqual(client.command(encoded(USER)).octets, b"334 UGFzc3dvcmQ6\r\n")
        self.assertReply(client.command(encoded(PASSWORD)), "235 2.7.0 ")

    def test_login_with_its_initial_response_asks_once(self):
        client = self.connect(STRANGER)
        self.assertEqual(client.command(f"auth login {encoded(USER)}").octets, b"334 UGFzc3dvcmQ6\r\n")
        self.assertReply(client.command(encoded(PASSWORD)), "235 2.7.0 ")

    def test_names_and_passwords_may_be_utf8(self):
        client = self.connect(STRANGER)
        self.assertReply(client.command(auth_plain("jürgen", "pässwörd")), "235")

    def test_it_does_not_depend_on_where_tcp_cuts_the_octets(self):
        client = self.connect(STRANGER)
        client.send_each(b"AUTH LOGIN\r\n")
        self.assertReply(client.reply(), "334")
        client.send_each(encoded(USER).encode() + b"\r\n")
        self.assertReply(client.reply(), "334")
        client.send_each(encoded(PASSWORD).encode() + b"\r\n")
        self.assertReply(client.reply(), "235")

    def test_a_star_cancels(self):
        client = self.connect(STRANGER)
        self.assertDialogue(
            client,
            ("AUTH PLAIN", "334"), ("*", "501 5.7.0"),
            ("AUTH LOGIN", "334"), ("*", "501 5.7.0"),
            (f"AUTH LOGIN {encoded(USER)}", "334"), ("*", "501 5.7.0"),
            (auth_plain(USER, PASSWORD), "235"),
        )

    def test_what_is_not_base64_is_501(self):
        client = self.connect(STRANGER)
        for response in ("!", "====", "A", "AGFsaWNlAA=", "AGFsaWNlAGI=AA==", "AGFs aWNl", "\u00e9", "NOOP"):
            with self.subTest(response):
                self.assertReply(client.command(f"AUTH PLAIN {response}"), "501 5.5.2")
                self.assertDialogue(client, ("AUTH PLAIN", "334"), (response, "501 5.5.2"))
            client.message("a@example.org", ["b@example.com"], b"x\r\n")  # forgives errors
        self.assertDialogue(client, ("AUTH LOGIN", "334"), ("!", "501 5.5.2"), ("NOOP", "250"))

    def test_what_is_no_message_of_plain_is_501(self):
        client = self.connect(STRANGER)
        for message in ("alice", "alice\0secret", "\0alice\0sec\0ret"):
            with self.subTest(message):
                self.assertReply(client.command(f"AUTH PLAIN {encoded(message)}"), "501 5.5.2")
        self.assertReply(client.command("AUTH PLAIN ="), "501 5.5.2")

    def test_lines_have_12288_octets(self):
        # RFC 4954 section 4; what is longer is read to its end and answered once.
        for count, beginning in ((12_286, "501 5.5.2"), (12_287, "500 5.5.6"), (100_000, "500 5.5.6")):
            with self.subTest(count):
                client = self.connect(STRANGER)
                self.assertDialogue(client, ("AUTH PLAIN", "334"), (b"A" * (count - 1) + b"!", beginning), ("NOOP", "250"))
        client = self.connect(STRANGER)
        self.assertReply(client.command(b"AUTH PLAIN " + b"A" * 12_274 + b"!"), "501 5.5.2")
        self.assertReply(client.command(b"AUTH PLAIN " + b"A" * 12_275 + b"!"), "500 5.5.6")
        self.assertReply(client.command(b"NOOP " + b"A" * 600), "500 5.5.2")

    def test_what_is_wrong_is_535_and_always_the_same(self):
        said = set()
        for user, password, acting_for in (
            ("mistaken", "wrong", ""),
            ("nobody@example.com", PASSWORD, ""),
            ("mistaken", PASSWORD, "somebody"),
            ("mistaken", "", ""),
            ("", PASSWORD, ""),
        ):
            client = self.connect(STRANGER)
            said.add(client.command(auth_plain(user, password, acting_for)).octets)
        self.assertEqual(said, {b"535 5.7.8 Authentication credentials invalid\r\n"})

    def test_a_user_may_act_for_oneself(self):
        client = self.connect(STRANGER)
        self.assertReply(client.command(auth_plain(USER, PASSWORD, acting_for=USER)), "235")

    def test_one_login_is_enough(self):
        client = self.connect(STRANGER)
        self.assertDialogue(
            client,
            (auth_plain(USER, PASSWORD), "235"),
            (auth_plain(USER, PASSWORD), "503 5.5.1"),
            ("AUTH LOGIN", "503 5.5.1"),
            ("EHLO client.example.org", "250"),
            ("AUTH LOGIN", "503 5.5.1"),
        )

    def test_it_has_its_place(self):
        client = self.connect(hello=None)
        self.assertDialogue(
            client,
            (auth_plain(USER, PASSWORD), "503 5.5.1"),
            ("EHLO client.example.org", "250"),
            ("AUTH", "501 5.5.4"),
            ("AUTH CRAM-MD5", "504 5.5.4"),
            ("MAIL FROM:<a@example.org>", "250"),
            (auth_plain(USER, PASSWORD), "503 5.5.1"),
            ("RSET", "250"),
            (auth_plain(USER, PASSWORD), "235"),
        )

    def test_who_leaves_in_the_middle_harms_nobody(self):
        for _ in range(20):
            client = self.connect(STRANGER)
            client.send(b"AUTH LOGIN\r\n")
            client.reply()
            client.close()
            with self.connect(STRANGER) as client:
                # Gone before the answer is there.
                client.send(auth_plain(USER, PASSWORD).encode() + b"\r\n")
        self.assertReply(self.connect(STRANGER).command(auth_plain(USER, PASSWORD)), "235")

    def test_commands_sent_along_wait_for_the_login(self):
        client = self.connect(STRANGER)
        client.send(auth_plain(USER, PASSWORD).encode() + b"\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n")
        self.assertEqual([reply.code for reply in client.replies(3)], [235, 250, 250])


class Rights(WithUsers, SharedServerCase):
    def logged_in(self, user=USER):
        client = self.connect(STRANGER)
        self.assertReply(client.command(auth_plain(user, PASSWORD)), "235")
        return client

    def test_a_stranger_relays_only_after_a_login(self):
        client = self.connect(STRANGER)
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "554 5.7.1"), ("RSET", "250"),
            (auth_plain(USER, PASSWORD), "235"),
            ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "250 2.1.5"),
        )

    def test_a_login_survives_rset_ehlo_and_messages(self):
        client = self.logged_in()
        for between in ("RSET", "EHLO again.example.org", "NOOP"):
            reply = client.message("a@example.org", ["b@example.net"], b"x\r\n")
            self.assertReply(reply, "250 2.0.0")
            self.assertReply(client.command(between), "250")
            self.assertReply(client.command("AUTH LOGIN"), "503 5.5.1")

    def test_allowed_senders_restrict_the_reverse_path(self):
        client = self.logged_in("restricted")
        for sender, beginning in (
            ("info@example.com", "250"), ("INFO@EXAMPLE.COM", "250"), ("x@example.net", "250"),
            ("x@deep.example.edu", "250"), ("", "250"), ("alice@example.com", "553 5.7.1"),
            ("x@example.edu", "553 5.7.1"), ("x@sub.example.net", "553 5.7.1"),
        ):
            with self.subTest(sender):
                self.assertReply(client.command(f"MAIL FROM:<{sender}>"), beginning)
                client.command("RSET")

    def test_others_may_send_as_anybody(self):
        self.assertReply(self.logged_in().command("MAIL FROM:<whoever@example.org>"), "250")

    def test_auth_of_mail_is_taken(self):
        client = self.logged_in()
        for value, beginning in (("<>", "250"), ("e+3Dmc2@example.com", "250"), ("", "501 5.5.4"), ("a+zz", "501 5.5.4")):
            with self.subTest(value):
                self.assertReply(client.command(f"MAIL FROM:<a@example.org> AUTH={value}"), beginning)
                client.command("RSET")

    def test_received_says_it(self):
        client = self.logged_in()
        for sender, parameters, word in (
            ("a@example.org", "", "ESMTPA"), ("jürgen@example.org", " SMTPUTF8", "UTF8SMTPA")
        ):
            token = unique()
            client.message(sender, ["b@example.com"], token + b"\r\n", parameters)
            trace = re.sub(rb"\s+", b" ", self.arrived(token).trace)
            self.assertIn(f" with {word} id ".encode(), trace)
            self.assertNotIn(USER.encode(), trace)


class InsideTLS(WithUsers, WithCertificates, SharedServerCase):
    def test_starttls_ends_the_login(self):
        client = self.connect(STRANGER)
        self.assertReply(client.command(auth_plain(USER, PASSWORD)), "235")
        self.secured(client)
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "554 5.7.1"), ("RSET", "250"),
            (auth_plain(USER, PASSWORD), "235"),
            ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "250"),
        )

    def test_starttls_sent_along_waits_for_the_login_and_ends_it(self):
        client = self.connect(STRANGER)
        client.send(auth_plain(USER, PASSWORD).encode() + b"\r\nSTARTTLS\r\n")
        self.assertEqual([reply.code for reply in client.replies(2)], [235, 220])
        client.handshake(self.trusting)
        self.assertDialogue(
            client,
            ("EHLO client.example.org", "250"),
            ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "554 5.7.1"),
        )

    def test_within_an_exchange_starttls_is_a_response(self):
        # It even is base 64; of a wrong password.
        client = self.connect(STRANGER)
        self.assertDialogue(client, ("AUTH LOGIN", "334"), (encoded(USER), "334"), ("STARTTLS", "535 5.7.8"))
        self.secured(client)
        self.assertReply(client.command(encoded(PASSWORD)), "500 5.5.1")

    def test_received_says_both(self):
        client = self.secured(self.connect(STRANGER))
        client.command(auth_plain(USER, PASSWORD))
        for sender, parameters, word in (
            ("a@example.org", "", "ESMTPSA"), ("jürgen@example.org", " SMTPUTF8", "UTF8SMTPSA")
        ):
            token = unique()
            client.message(sender, ["b@example.net"], token + b"\r\n", parameters)
            self.assertIn(f" with {word} id ".encode(), re.sub(rb"\s+", b" ", self.arrived(token).trace))

    def content(self):
        token = unique()
        return token, b"From: a@example.org\r\nSubject: %s\r\n\r\nbody\r\n" % token

    def assertArrivedFromUser(self, token):
        message = self.arrived(token)
        self.assertEqual(message.addresses, ["b@example.net"])
        self.assertIn(b" with ESMTPSA id ", re.sub(rb"\s+", b" ", message.trace))

    # None of these may relay without having logged in: STRANGER is the source of all.

    def test_swaks_logs_in(self):
        for mechanism in ("PLAIN", "LOGIN"):
            with self.subTest(mechanism):
                token, content = self.content()
                said = tools.swaks(
                    self.shared.address, "--local-interface", STRANGER, "--tls", "--auth", mechanism, "--auth-user", USER,
                    "--auth-password", PASSWORD, "--from", "a@example.org", "--to", "b@example.net", "--data",
                    content.decode().replace("\r\n", "\n"),
                )
                self.assertIn("235 2.7.0", said)
                self.assertArrivedFromUser(token)

    def test_curl_logs_in(self):
        for mechanism in ("PLAIN", "LOGIN"):
            with self.subTest(mechanism):
                token, content = self.content()
                tools.curl(
                    self.shared.address, "--interface", STRANGER, "--ssl-reqd", "--cacert", self.authority.file,
                    "--user", f"{USER}:{PASSWORD}", "--login-options", f"AUTH={mechanism}", "--mail-from",
                    "a@example.org", "--mail-rcpt", "b@example.net", "--upload-file", "-", input=content,
                )
                self.assertArrivedFromUser(token)

    def test_smtplib_logs_in(self):
        for mechanism in ("auth_plain", "auth_login"):
            with self.subTest(mechanism):
                token, content = self.content()
                with smtplib.SMTP(*self.shared.address, source_address=(STRANGER, 0)) as client:
                    client.starttls(context=self.trusting)
                    client.ehlo()
                    client.user, client.password = USER, PASSWORD
                    code, _ = client.auth(mechanism[5:].upper(), getattr(client, mechanism))
                    self.assertEqual(code, 235)
                    client.sendmail("a@example.org", ["b@example.net"], content)
                self.assertArrivedFromUser(token)

    def test_msmtp_logs_in(self):
        password = self.directory() / "password"
        password.write_text(PASSWORD)
        for mechanism in ("plain", "login"):
            with self.subTest(mechanism):
                token, content = self.content()
                tools.msmtp(
                    self.shared.address, f"--source-ip={STRANGER}", "--tls=on", f"--tls-trust-file={self.authority.file}",
                    f"--auth={mechanism}", f"--user={USER}", f"--passwordeval=cat {password}", "--from=a@example.org",
                    "b@example.net", input=content,
                )
                self.assertArrivedFromUser(token)


class OnlyInsideTLS(WithUsers, WithCertificates, SharedServerCase):
    auth = {"require_tls": True}

    def test_in_clear_it_is_not_offered_and_538(self):
        client = self.connect(STRANGER, hello=None)
        self.assertNotIn("AUTH", str(client.ehlo()))
        self.assertDialogue(
            client,
            (auth_plain(USER, PASSWORD), "538 5.7.11"),
            ("AUTH PLAIN", "538 5.7.11"),
            ("AUTH LOGIN", "538 5.7.11"),
        )
        client.starttls(self.trusting)
        self.assertIn("250-AUTH PLAIN LOGIN", client.ehlo().lines)
        self.assertReply(client.command(auth_plain(USER, PASSWORD)), "235 2.7.0")


class Settings(WithCertificates, Case):
    def server_with(self, configuration=None, **auth):
        directory = self.directory()
        users = with_users(directory, {USER: sha512crypt(PASSWORD)}, **auth)
        return self.server(merged(users, configuration or {}), directory=directory)

    def test_without_auth_it_is_502_and_not_offered(self):
        client = self.client(self.server(), hello=None)
        self.assertNotIn("AUTH", str(client.ehlo()))
        self.assertDialogue(
            client, (auth_plain(USER, PASSWORD), "502 5.5.1"), ("AUTH PLAIN", "502 5.5.1"), ("NOOP", "250")
        )

    def test_one_mechanism_alone(self):
        client = self.client(self.server_with(methods=["login"]), STRANGER, hello=None)
        self.assertIn("250-AUTH LOGIN", client.ehlo().lines)
        self.assertReply(client.command(auth_plain(USER, PASSWORD)), "504 5.5.4")
        self.assertReply(client.command("AUTH LOGIN"), "334")

    def test_a_required_login_comes_before_mail(self):
        server = self.server_with(required=True)
        for source in (STRANGER, "127.0.0.1"):
            with self.subTest(source):
                client = self.client(server, source)
                self.assertDialogue(
                    client,
                    ("MAIL FROM:<a@example.org>", "530 5.7.0"),
                    ("RCPT TO:<b@example.com>", "503 5.5.1"),
                    ("NOOP", "250"),
                    (auth_plain(USER, PASSWORD), "235"),
                    ("MAIL FROM:<a@example.org>", "250"),
                    ("RCPT TO:<b@example.com>", "250"),
                )

    def test_one_listener_may_require_it(self):
        server = self.server_with(
            {"listen_addr": None,
             "listeners": [{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "auth_required": True}]}
        )
        for address, beginning in zip(server.addresses, ("250", "530 5.7.0")):
            with Client(address, STRANGER) as client:
                client.ehlo()
                self.assertReply(client.command("MAIL FROM:<a@example.org>"), beginning)

    def test_required_and_only_inside_tls_asks_for_tls_first(self):
        server = self.server_with(with_tls(self.pair), required=True, require_tls=True)
        client = self.client(server, STRANGER)
        self.assertReply(client.command("MAIL FROM:<a@example.org>"), "530 5.7.0")
        self.secured(client)
        self.assertDialogue(
            client,
            ("MAIL FROM:<a@example.org>", "530 5.7.0"),
            (auth_plain(USER, PASSWORD), "235"),
            ("MAIL FROM:<a@example.org>", "250"),
        )

    def test_passwords_in_clear_from_elsewhere_are_a_warning(self):
        loopback = self.server_with()
        self.assertNotRegex(loopback.log, r"(?i)warning .*clear")
        everywhere = self.server_with({"listen_addr": "0.0.0.0:0"})
        self.assertLogged(everywhere, re.compile(r"(?i)warning .*clear"))
        # With STARTTLS a client still may log in without it; with require_tls none can.
        careful = self.server_with(merged(with_tls(self.pair), {"listen_addr": "0.0.0.0:0"}), require_tls=True)
        self.assertNotRegex(careful.log, r"(?i)warning .*clear")

    def test_no_secret_is_ever_logged(self):
        secret, other = unique().decode(), unique().decode()
        directory = self.directory()
        configuration = merged(
            merged(with_users(directory, {USER: sha512crypt(secret)}), with_tls(self.pair)),
            {"logging": {"level": "debug", "file": "elemta.log"}, **discard_routes()},
        )
        server = self.server(configuration, directory=directory)
        client = self.client(server, STRANGER)
        for line in (auth_plain(USER, secret), auth_plain(USER, secret), "MAIL FROM:<a@example.org>",
                     auth_plain(USER, secret)):
            client.command(line)
        wrong = self.client(server, STRANGER)
        for line in (
            auth_plain(USER, other),
            auth_plain(USER, secret) + " more",
            auth_plain(USER, secret)[:-1] + "!",
            f"AUTH  PLAIN {plain(USER, secret)}",
            f"AUTH\tPLAIN {plain(USER, secret)}",
            f"AUTH PLAIN={plain(USER, secret)}",
            f"AUTHPLAIN {plain(USER, secret)}",
            f"AUTH CRAM-MD5 {plain(USER, secret)}",
            f"AUTH PLAIN {plain(USER, secret)}\0",
            f"AUTH PLAIN {encoded(secret)}",
            # A client that goes on as if it had been asked.
            "AUTH LOGIN !", encoded(USER), encoded(secret),
            "AUTH LOGIN", encoded(USER), encoded(secret) + "!",
            "AUTH PLAIN", plain(USER, secret) + "\x01",
            f"AUTH LOGIN {encoded(USER)}", encoded(other),
        ):
            wrong.command(line)
        wrong.close()
        long = self.client(server, STRANGER)
        long.command("AUTH PLAIN")
        long.command(plain(USER, secret) * 300)
        long.close()
        server.stop()
        written = server.log + (directory / "elemta.log").read_text()
        self.assertIn(USER, written, "who has logged in is logged")
        for hidden in (secret, other):
            # The three ways in which base 64 may cut it.
            forms = [encoded("x" * shift + hidden)[4 : -4] for shift in range(3)]
            for form in [hidden, encoded(hidden), *forms]:
                self.assertNotIn(form, written)
