"""The users file: its forms, its hashes, its mistakes, and that it is read again."""

import json
import os
import re
import select

from harness.case import STRANGER, Case, discard_routes, unique
from harness.server import SANITIZER
from harness.users import auth_plain, bcrypt, crypt, digest, plain, sha512crypt, user_list, yescrypt
from harness.waiting import until

USER = "alice@example.com"


class UsersCase(Case):
    def prepared(self, text, **configuration):
        """A server that isn't started yet, with a users file of this text."""
        directory = self.directory()
        self.file = directory / "users"
        self.rewrite(text)
        return self.unstarted_server(
            {"auth": {"enabled": True, "file_path": str(self.file)}, **configuration}, directory=directory
        )

    def serving(self, text, **configuration):
        return self.prepared(text, **configuration).start()

    def rewrite(self, text):
        """A whole new file in place of the old one."""
        new = self.file.with_name("users.new")
        new.write_text(text)
        new.chmod(0o600)
        new.replace(self.file)

    def login(self, server, user, password):
        with self.client(server, STRANGER) as client:
            return client.command(auth_plain(user, password)).code


class Forms(UsersCase):
    def test_every_form_is_read(self):
        hashed = sha512crypt("right")
        for name, text in {
            "a list": user_list({USER: hashed, "bob": hashed}),
            "a map": json.dumps({USER: hashed, "bob": hashed}),
            "lines": f"# who may send\n\n{USER}:{hashed}\nbob:{hashed}\n",
            "lines that end with CRLF": f"{USER}:{hashed}\r\nbob:{hashed}\r\n",
        }.items():
            with self.subTest(name):
                server = self.serving(text)
                self.assertEqual(self.login(server, USER, "right"), 235)
                self.assertEqual(self.login(server, "bob", "right"), 235)
                self.assertEqual(self.login(server, "carol", "right"), 535)
                server.stop()

    def test_every_hash_is_understood(self):
        password = "pässwörd, with: everything {in} $it"
        hashes = {
            "yescrypt": yescrypt(password),
            "bcrypt": bcrypt(password),
            "bcrypt-2y": bcrypt(password).replace("$2b$", "$2y$"),
            "bcrypt-2a": bcrypt(password).replace("$2b$", "$2a$"),
            "sha512crypt": sha512crypt(password),
            "sha256crypt": crypt(password, "$5$salt"),
            "rounds": crypt(password, "$6$rounds=2000$salt"),
            "md5crypt": crypt(password, "$1$salt"),
            "labelled": "{CRYPT}" + sha512crypt(password),
            **{scheme: digest(password, scheme) for scheme in ("SHA", "SHA256", "SHA512", "SSHA", "SSHA256", "SSHA512")},
            "plain": "{PLAIN}" + password,
            "bare": password,
        }
        server = self.serving(user_list(hashes))
        for name in hashes:
            with self.subTest(name):
                self.assertEqual(self.login(server, name, password), 235)

    def test_a_bare_password_is_a_warning_without_it(self):
        secret = unique().decode()
        server = self.serving(user_list({"bare": secret, "plain": "{PLAIN}" + secret}))
        self.assertLogged(server, re.compile(rf"(?i)warning .*{self.file}.*bare"))
        self.assertNotIn(secret, server.log)
        self.assertEqual(self.login(server, "bare", secret), 235)


class Mistakes(UsersCase):
    secret = "s3cr3t" + unique().decode()

    def mistakes(self):
        """Names and pairs of a file and what is said about it."""
        hashed = sha512crypt(self.secret)
        doubled = f'{{"users": [{{"username": "bob", "password": "{hashed}"}}, {{"username": "bob", "password": "{hashed}"}}]}}'
        return {
            "a doubled name in a list": (doubled, "bob"),
            "a doubled name in a map": (f'{{"bob": "{hashed}", "bob": "{hashed}"}}', "bob"),
            "a doubled name in lines": (f"bob:{hashed}\nbob:{hashed}\n", "bob"),
            "an unknown scheme": (user_list({"bob": "{ROT13}" + self.secret}), "bob"),
            "an unknown crypt scheme": (user_list({"bob": "$99$" + self.secret}), "bob"),
            "a damaged hash": (user_list({"bob": "{SSHA}" + self.secret + "!"}), "bob"),
            "half a crypt hash": (user_list({"bob": hashed[:20]}), "bob"),
            "an empty password": (user_list({"bob": ""}), "bob"),
            "a number as password": ('{"bob": 5}', "bob"),
            "broken JSON": (f'{{"bob": "{hashed}"', ""),
            "an unknown key": (f'{{"users": [{{"username": "bob", "password": "{hashed}", "pasword": "x"}}]}}', "bob"),
            "a bad sender": (user_list({"bob": (hashed, ["not an address"])}), "bob"),
            "a line without a colon": (f"bob {hashed}\n", ""),
            "a line without a name": (f":{hashed}\n", ""),
        }

    def test_each_ends_the_start_and_names_file_and_user_without_the_secret(self):
        for name, (text, user) in self.mistakes().items():
            with self.subTest(name):
                server = self.prepared(text)
                server.launch()
                self.assertIn(server.wait(), (os.EX_CONFIG, 1))
                server.process = None
                said = server.log + server.run("check", status=None)
                self.assertIn(str(self.file), said)
                self.assertIn(user, said)
                self.assertNotIn(self.secret, said)

    def test_check_counts_the_users_and_says_what_looks_like_a_mistake(self):
        server = self.prepared(user_list({"alice": sha512crypt(self.secret), "bob": self.secret}))
        self.file.chmod(0o644)
        server.write_configuration()
        said = server.run("check")
        self.assertRegex(said, rf"(?m)^users +{re.escape(str(self.file))}, 2 users$")
        self.assertRegex(said, r"(?m)^elemta: warning: .*readable by every user")
        self.assertRegex(said, r'(?m)^elemta: warning: .* user "bob": .*plain text')
        self.assertNotIn(self.secret, said)

    def test_check_says_all_that_is_wrong_with_the_users(self):
        server = self.prepared("alice:{MD5}x\nbob:{PLAIN}x\nbob:{PLAIN}x\n")
        server.write_configuration()
        said = server.run("check", status=os.EX_CONFIG)
        self.assertRegex(said, rf'(?m)^elemta: {re.escape(str(self.file))}:1: user "alice": ')
        self.assertRegex(said, rf'(?m)^elemta: {re.escape(str(self.file))}:3: user "bob": ')

    def test_a_missing_file_is_named(self):
        server = self.prepared("{}")
        self.file.unlink()
        server.launch()
        self.assertIn(server.wait(), (os.EX_CONFIG, 1))
        server.process = None
        self.assertLogged(server, str(self.file))

    def test_a_bad_new_file_leaves_the_users_as_they_were(self):
        server = self.serving(user_list({USER: sha512crypt("right")}))
        for name, (text, _) in self.mistakes().items():
            with self.subTest(name):
                length = len(server.log)
                self.rewrite(text)
                self.assertEqual(self.login(server, USER, "right"), 235)
                until(lambda: str(self.file) in server.log[length:], "the bad file in the log")
                self.assertNotIn(self.secret, server.log)
        self.file.unlink()
        self.assertEqual(self.login(server, USER, "right"), 235)


class Changes(UsersCase):
    def test_a_changed_file_is_read_again(self):
        server = self.serving(user_list({USER: sha512crypt("first")}))
        self.assertEqual(self.login(server, USER, "first"), 235)
        self.rewrite(user_list({USER: sha512crypt("second"), "bob": sha512crypt("bob's")}))
        self.assertEqual(self.login(server, USER, "second"), 235)
        self.assertEqual(self.login(server, "bob", "bob's"), 235)
        self.assertEqual(self.login(server, USER, "first"), 535)
        self.rewrite(user_list({"bob": sha512crypt("bob's")}))
        self.assertEqual(self.login(server, USER, "second"), 535)

    def test_a_session_that_has_logged_in_goes_on(self):
        server = self.serving(user_list({USER: sha512crypt("first")}))
        client = self.client(server, STRANGER)
        self.assertReply(client.command(auth_plain(USER, "first")), "235")
        self.rewrite(user_list({"bob": sha512crypt("bob's")}))
        self.assertEqual(self.login(server, "bob", "bob's"), 235)
        self.assertReply(client.message("a@example.org", ["b@example.net"], b"x\r\n"), "250")


class Hashing(UsersCase):
    """Hashing happens elsewhere, for a bounded number of clients at a time."""

    def asking(self, server, count, password):
        """Clients that have sent their password and wait for the answer."""
        clients = [self.client(server) for _ in range(count)]
        for client in clients:
            client.send(f"AUTH PLAIN {plain(USER, password)}\r\n".encode())
        return clients

    def test_everybody_else_is_served_meanwhile(self):
        # Each takes about a second of a processor.
        server = self.serving(user_list({USER: bcrypt("right", cost=13)}), **discard_routes())
        other = self.client(server, STRANGER)
        asking = self.asking(server, 6, "right")
        for _ in range(5):
            self.assertReply(other.command("NOOP"), "250")
        self.assertReply(other.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        answered, _, _ = select.select([client.socket for client in asking], [], [], 0)
        self.assertLess(len(answered), len(asking), "nobody was served before all had their answers")
        for client in asking:
            self.assertReply(client.reply(), "235")

    def test_too_many_at_once_are_454(self):
        server = self.serving(user_list({USER: bcrypt("right", cost=9 if SANITIZER else 10)}))
        codes = {client.reply().octets[:9] for client in self.asking(server, 250, "right")}
        self.assertEqual(codes, {b"235 2.7.0", b"454 4.7.0"})
        # Soon there is room again.
        self.assertEqual(self.login(server, USER, "right"), 235)
