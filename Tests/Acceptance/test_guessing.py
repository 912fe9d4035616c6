"""Guessing passwords: it takes time, soon it is refused, and it locks nobody out."""

import time

from harness.case import STRANGER, Case, discard_routes
from harness.users import auth_plain, bcrypt, crypt, encoded, user_list
from harness.waiting import PATIENCE

USER, PASSWORD = "alice@example.com", "open sesame"
# Seconds; the loop's clock may be a little behind.
TOLERANCE = 0.05


class GuessingCase(Case):
    def serving(self, users=None, configuration=None, **auth):
        directory = self.directory()
        file = directory / "users.json"
        file.write_text(user_list(users or {name: bcrypt(PASSWORD) for name in (USER, "bob", "carol")}))
        file.chmod(0o600)
        return self.server(
            {
                "auth": {"enabled": True, "file_path": str(file), **auth},
                "limits": {"xclient_hosts": ["127.0.0.1"]},
                **discard_routes(),
                **(configuration or {}),
            },
            directory=directory,
        )

    def guest(self, server, address):
        """A client that the server takes for this address, which is neither loopback nor allowed."""
        client = self.client(server)
        prefix = "IPV6:" if ":" in address else ""
        self.assertReply(client.command(f"XCLIENT ADDR={prefix}{address}"), "220")
        self.assertReply(client.ehlo(), "250")
        return client

    def attempt(self, server, address, user, password):
        with self.guest(server, address) as client:
            return client.command(auth_plain(user, password))


class Delays(GuessingCase):
    def test_each_failure_waits_longer_and_the_fifth_ends_the_session(self):
        server = self.serving()
        client, other = self.client(server, STRANGER), self.client(server, STRANGER)
        for number in range(1, 6):
            began = time.monotonic()
            if number % 2:
                client.send(auth_plain(f"nobody-{number}", "wrong").encode() + b"\r\n")
            else:
                self.assertReply(client.command(f"AUTH LOGIN {encoded('bob')}"), "334")
                client.send(encoded("wrong").encode() + b"\r\n")
            # Only that session waits.
            self.assertReply(other.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
            self.assertLess(time.monotonic() - began, 0.9 * number * PATIENCE)
            reply = client.reply()
            self.assertGreater(time.monotonic() - began, number - TOLERANCE)
            self.assertReply(reply, "535 5.7.8" if number < 5 else "421 4.7.0")
        self.assertTrue(client.is_closed())

    def test_what_is_sent_meanwhile_waits(self):
        server = self.serving()
        client = self.client(server, STRANGER)
        began = time.monotonic()
        client.send(auth_plain("nobody", "wrong").encode() + b"\r\nNOOP\r\n" + auth_plain(USER, PASSWORD).encode() + b"\r\n")
        self.assertEqual([reply.code for reply in client.replies(3)], [535, 250, 235])
        self.assertGreater(time.monotonic() - began, 1 - TOLERANCE)

    def test_a_client_that_leaves_while_it_waits_harms_nobody(self):
        server = self.serving()
        for _ in range(20):
            with self.client(server, STRANGER) as client:
                client.send(auth_plain("nobody", "wrong").encode() + b"\r\n")
        client = self.client(server, STRANGER)
        self.assertReply(client.command(auth_plain("nobody", "wrong")), "535")
        self.assertReply(client.command(auth_plain(USER, PASSWORD)), "235")

    def test_a_server_that_stops_does_not_wait_for_it(self):
        server = self.serving(configuration={"limits": {"shutdown_timeout": 20}})
        client = self.client(server, STRANGER)
        client.command(auth_plain("nobody", "wrong"))
        client.send(auth_plain("nobody", "wrong").encode() + b"\r\n")
        began = time.monotonic()
        server.process.terminate()
        self.assertEqual(server.wait(10), 0)
        self.assertLess(time.monotonic() - began, 10 * PATIENCE)

    def hash_that_takes(self, seconds):
        """At least so long on a processor of its own; and how long it took there."""
        for cost in range(8, 20):
            began = time.thread_time()
            hashed = crypt(PASSWORD, f"$2b${cost:02}$abcdefghijklmnopqrstuu")
            if (hashing := time.thread_time() - began) > seconds:
                break
        return hashed, hashing

    def test_an_unknown_user_takes_as_long_as_a_wrong_password(self):
        # Longer than the second that every wrong answer waits.
        hashed, hashing = self.hash_that_takes(1.5)
        server = self.serving({USER: hashed})
        for user in (USER, "nobody@example.com"):
            began = time.monotonic()
            self.assertReply(self.client(server, STRANGER).command(auth_plain(user, "wrong")), "535")
            self.assertGreater(time.monotonic() - began, hashing * 0.7, f"{user}: no hash was computed")

    def test_the_wait_hides_how_long_a_password_took(self):
        # It counts from when the password came. The shortest of a few: the machine may be busy.
        hashed, hashing = self.hash_that_takes(0.2)
        server = self.serving({f"user-{number}": hashed for number in range(5)})
        times = []
        for number in range(5):
            client = self.client(server, STRANGER)
            began = time.monotonic()
            self.assertReply(client.command(auth_plain(f"user-{number}", "wrong")), "535")
            times.append(time.monotonic() - began)
        self.assertGreater(min(times), 1 - TOLERANCE)
        self.assertLess(min(times), 1 + 0.8 * hashing)


class OfAnAddress(GuessingCase):
    def test_after_max_failures_auth_is_454_for_that_address_alone(self):
        server = self.serving(max_failures=3)
        for number in range(3):
            self.assertReply(self.attempt(server, "192.0.2.7", f"nobody-{number}", "wrong"), "535 5.7.8")
        # The right password too: or a guesser would know.
        for user, password in ((USER, PASSWORD), ("nobody", "wrong")):
            self.assertReply(self.attempt(server, "192.0.2.7", user, password), "454 4.7.0")
        self.assertReply(self.attempt(server, "192.0.2.8", USER, PASSWORD), "235")
        # Everything but AUTH goes on.
        with self.guest(server, "192.0.2.7") as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")

    def test_the_window_ends(self):
        server = self.serving(max_failures=1, failure_window=3)
        self.assertReply(self.attempt(server, "192.0.2.7", "nobody", "wrong"), "535")
        deadline = time.monotonic() + 20 * PATIENCE
        codes = []
        while not codes or codes[-1] == 454:
            self.assertLess(time.monotonic(), deadline, codes[-1:])
            codes.append(self.attempt(server, "192.0.2.7", USER, PASSWORD).code)
        self.assertEqual(codes[-1], 235)

    def test_failures_of_one_session_count_too(self):
        server = self.serving(max_failures=2)
        with self.guest(server, "192.0.2.7") as client:
            self.assertDialogue(
                client,
                (auth_plain("nobody", "wrong"), "535"), (auth_plain("nobody-2", "wrong"), "535"),
                (auth_plain(USER, PASSWORD), "454 4.7.0"),
            )

    def test_what_no_back_end_may_see_counts_and_is_logged_without_its_name(self):
        attempts = {
            "LF": [auth_plain("al\nice", PASSWORD)],
            "empty": [auth_plain("", PASSWORD)],
            "authzid": [auth_plain(USER, PASSWORD, acting_for="bob")],
            "LOGIN": [f"AUTH LOGIN {encoded('al' + chr(10) + 'ice')}", encoded(PASSWORD)],
        }
        server = self.serving(max_failures=4)
        for name, lines in attempts.items():
            with self.subTest(name), self.guest(server, "192.0.2.7") as client:
                replies = [client.command(line) for line in lines]
                self.assertReply(replies[-1], "535 5.7.8")
        events = [line for line in server.log.splitlines() if " authentication " in line]
        self.assertEqual(len(events), 4, server.log)
        self.assertTrue(all("result=rejected" in line for line in events), events)
        # Only who exists is named.
        self.assertEqual([f"user={USER}" in line for line in events], [False, False, True, False])
        self.assertEqual(sum("user=" in line for line in events), 1)
        for lines in (attempts["LF"], [auth_plain(USER, PASSWORD)]):
            self.assertReply(self.attempt_lines(server, "192.0.2.7", lines), "454 4.7.0")
        self.assertReply(self.attempt(server, "192.0.2.8", USER, PASSWORD), "235")

    def attempt_lines(self, server, address, lines):
        with self.guest(server, address) as client:
            return [client.command(line) for line in lines][-1]

    def test_a_64_of_ipv6_is_one_address(self):
        server = self.serving(max_failures=2)
        for address in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2"):
            self.assertReply(self.attempt(server, address, "nobody", "wrong"), "535")
        self.assertReply(self.attempt(server, "2001:db8:1:2::3", USER, PASSWORD), "454 4.7.0")
        self.assertReply(self.attempt(server, "2001:db8:1:3::1", USER, PASSWORD), "235")

    def test_loopback_and_allowed_relays_are_exempt(self):
        server = self.serving(
            max_failures=1, configuration={"allowed_relays": ["127.0.0.1", "192.0.2.0/24"]}
        )
        for address in ("192.0.2.7", "127.0.0.2"):
            for number in range(3):
                with self.subTest(address, number=number):
                    self.assertReply(self.attempt(server, address, f"nobody-{number}", "wrong"), "535")
            self.assertReply(self.attempt(server, address, USER, PASSWORD), "235")


class OfAnAccount(GuessingCase):
    def test_nobody_can_lock_a_user_out(self):
        server = self.serving(max_failures=30)
        guessers = [self.guest(server, f"192.0.2.{number}") for number in range(1, 21)]
        for guesser in guessers:
            guesser.send(auth_plain("bob", "wrong").encode() + b"\r\n")
        for guesser in guessers:
            self.assertReply(guesser.reply(), "535")
        began = time.monotonic()
        self.assertReply(self.attempt(server, "198.51.100.1", "bob", PASSWORD), "235 2.7.0")
        self.assertLess(time.monotonic() - began, 7 * PATIENCE)
        # Others don't wait for what is done to Bob.
        began = time.monotonic()
        self.assertReply(self.attempt(server, "198.51.100.1", "carol", PASSWORD), "235 2.7.0")
        self.assertLess(time.monotonic() - began, 1 * PATIENCE)

    def test_a_guesser_cannot_tell_the_right_password_by_its_speed(self):
        server = self.serving()
        for number in range(3):
            self.assertReply(self.attempt(server, f"192.0.2.{number + 1}", "bob", "wrong"), "535")
        began = time.monotonic()
        self.assertReply(self.attempt(server, "192.0.2.9", "bob", PASSWORD), "235")
        self.assertGreater(time.monotonic() - began, 1 - TOLERANCE)
