"""Logins by a directory: a real slapd, up, down, silent and in between."""

import socket
import time
import unittest

from harness import directory
from harness.case import STRANGER, Case, WithCertificates, discard_routes, unique
from harness.client import Client
from harness.users import auth_plain, encoded
from harness.waiting import PATIENCE, until

USER, PASSWORD = "alice@example.com", "hunter2"
DOWN = "454 4.7.0"


@unittest.skipUnless(directory.is_there(), "no slapd: scripts/dependencies test")
class DirectoryCase(WithCertificates, Case):
    def directory_server(self):
        slapd = directory.Directory(self.directory(), self.pair)
        self.addCleanup(slapd.stop)
        return slapd

    def serving(self, ldap, **configuration):
        return self.server(
            {"auth": {"enabled": True, "backend": "ldap", "ldap": ldap}, **discard_routes(), **configuration}
        )

    def answer(self, server, user=USER, password=PASSWORD):
        with self.client(server, STRANGER) as client:
            return str(client.command(auth_plain(user, password)))[:9]


class Directories(DirectoryCase):
    def test_search_then_bind_decides(self):
        server = self.serving(self.directory_server().settings())
        for user, password, expected in (
            (USER, PASSWORD, "235 2.7.0"),
            ("ALICE@example.com", PASSWORD, "235 2.7.0"),
            ("bob@example.com", "correct horse", "235 2.7.0"),
            (USER, "wrong", "535 5.7.8"),
            ("nobody@example.com", PASSWORD, "535 5.7.8"),
            # RFC 4513 5.1.2: a bind without a password succeeds and proves nothing.
            ("bob@example.com", "", "535 5.7.8"),
            ("*", PASSWORD, "535 5.7.8"),
            ("*)(mail=*", PASSWORD, "535 5.7.8"),
            ("alice*", PASSWORD, "535 5.7.8"),
        ):
            with self.subTest(user=user, password=password):
                self.assertEqual(self.answer(server, user, password), expected)

    def test_login_works_too_and_allows_relaying(self):
        server = self.serving(self.directory_server().settings())
        client = self.client(server, STRANGER)
        self.assertDialogue(
            client,
            ("AUTH LOGIN", "334"), (encoded(USER), "334"), (encoded(PASSWORD), "235 2.7.0"),
            ("MAIL FROM:<a@example.org>", "250"), ("RCPT TO:<b@example.net>", "250"),
        )

    def test_ldaps_and_starttls_check_the_certificate(self):
        slapd = self.directory_server()
        secure = f"ldaps://127.0.0.1:{slapd.secure_port}"
        stranger = type(self.authority)(self.directory(), "nobody's authority").file
        for name, changes, expected in (
            ("ldaps", {"url": secure, "ca_file": str(self.authority.file)}, "235 2.7.0"),
            ("StartTLS", {"starttls": True, "ca_file": str(self.authority.file)}, "235 2.7.0"),
            ("ldaps by a stranger", {"url": secure, "ca_file": str(stranger)}, DOWN),
            ("StartTLS by a stranger", {"starttls": True, "ca_file": str(stranger)}, DOWN),
        ):
            with self.subTest(name):
                self.assertEqual(self.answer(self.serving(slapd.settings(**changes))), expected)

    def test_the_first_of_several_servers_that_answers_is_asked(self):
        slapd = self.directory_server()
        (closed,) = directory.free_ports(1)
        urls = f"ldap://127.0.0.1:{closed} ldap://127.0.0.1:{slapd.port}"
        self.assertEqual(self.answer(self.serving(slapd.settings(url=urls))), "235 2.7.0")

    def test_while_it_is_down_the_answer_is_454_and_afterwards_right_again(self):
        slapd = self.directory_server()
        server = self.serving(slapd.settings())
        self.assertEqual(self.answer(server), "235 2.7.0")
        for _ in range(2):
            slapd.stop()
            for user, password in ((USER, PASSWORD), (USER, "wrong"), ("nobody@example.com", "wrong")):
                self.assertEqual(self.answer(server, user, password), DOWN)
            slapd.start()
            until(lambda: self.answer(server) == "235 2.7.0", "the directory asked again", 30)
            self.assertEqual(self.answer(server, USER, "wrong"), "535 5.7.8")

    def test_a_server_starts_without_it(self):
        slapd = self.directory_server()
        slapd.stop()
        server = self.serving(slapd.settings())
        self.assertEqual(self.answer(server), DOWN)
        slapd.start()
        until(lambda: self.answer(server) == "235 2.7.0", "the directory asked", 30)

    def test_wrong_settings_of_ours_are_never_the_clients_fault(self):
        slapd = self.directory_server()
        slapd.bind_password_file.write_text("wrong\n")
        server = self.serving(slapd.settings())
        self.assertEqual(self.answer(server), DOWN)
        server = self.serving(slapd.settings(base_dn="dc=nowhere,dc=com"))
        self.assertEqual(self.answer(server), DOWN)

    def test_no_secret_is_logged(self):
        secret = unique().decode()
        slapd = self.directory_server()
        server = self.serving(slapd.settings(), logging={"level": "debug"})
        self.assertEqual(self.answer(server, USER, secret), "535 5.7.8")
        slapd.stop()
        self.assertEqual(self.answer(server, USER, secret), DOWN)
        server.stop()
        self.assertNotIn(secret, server.log)
        self.assertNotIn("reads", server.log, "the password of bind_dn")


class Silent(DirectoryCase):
    """A directory that takes connections and says nothing."""

    def setUp(self):
        super().setUp()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.addCleanup(self.listener.close)
        port = self.listener.getsockname()[1]
        self.settings = {"url": f"ldap://127.0.0.1:{port}", "base_dn": "dc=example,dc=com", "timeout": 1}

    def test_it_costs_a_client_the_timeout_and_others_nothing(self):
        server = self.serving(self.settings)
        asking = [self.client(server) for _ in range(12)]
        for client in asking:
            client.send(auth_plain(USER, PASSWORD).encode() + b"\r\n")
        for _ in range(10):
            with Client(server.address, STRANGER) as client:
                client.ehlo()
                self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        began = time.monotonic()
        self.assertEqual({str(client.reply())[:9] for client in asking}, {DOWN})
        self.assertLess(time.monotonic() - began, 20 * PATIENCE)

    def test_stopping_does_not_wait_for_it(self):
        server = self.serving(self.settings | {"timeout": 30})
        client = self.client(server)
        client.send(auth_plain(USER, PASSWORD).encode() + b"\r\n")
        connection, _ = self.listener.accept()
        self.addCleanup(connection.close)
        server.process.terminate()
        self.assertEqual(server.wait(15), 0)
