"""test_smtp.py and test_smtp_auth.py, run as their users run them: from the root, by these names."""

import socket
import subprocess
import sys

from harness.case import Case, SharedServerCase, WithCertificates, discard_routes, with_tls
from harness.server import ROOT, environment, merged
from harness.users import bcrypt, user_list
from harness.waiting import PATIENCE

USER, PASSWORD = "alice@example.com", "open sesame"


class ScriptCase(WithCertificates, Case):
    def script(self, name, address, *arguments, status=0):
        """Runs a script against the address; what it prints."""
        finished = subprocess.run(
            [sys.executable, name, "--host", address[0], "--port", str(address[1]), *arguments],
            cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=120 * PATIENCE, check=False,
        )
        self.assertEqual(finished.returncode, status, finished.stdout)
        self.assertNotIn("Traceback", finished.stdout)
        return finished.stdout

    def with_auth(self, configuration=None, **auth):
        directory = self.directory()
        file = directory / "users.json"
        file.write_text(user_list({USER: (bcrypt(PASSWORD), [USER])}))
        file.chmod(0o600)
        settings = {"auth": {"enabled": True, "file_path": str(file), **auth}, **with_tls(self.pair), **discard_routes()}
        return self.server(merged(settings, configuration or {}), directory=directory)


class Scripts(ScriptCase):
    def test_a_good_server_passes(self):
        sink = self.sink()
        server = self.server(
            {**with_tls(self.pair), "delivery": {"routes": [{"domain": "*", "deliver": sink.route}]}}
        )
        for more in ([], ["--starttls"], ["--starttls", "--ca-file", str(self.authority.file), "--host", "localhost"],
                     ["--to", "b@example.com", "--from", "a@example.org"]):
            with self.subTest(more):
                said = self.script("test_smtp.py", server.address, *more)
                self.assertIn(" 0 failed", said)
                self.assertIn("Message accepted for delivery", said)
        self.assertEqual(len(sink.wait_for(12)), 12)

    def test_without_auth_refusing_it_passes(self):
        server = self.server(discard_routes())
        self.assertIn("502 5.5.1", self.script("test_smtp_auth.py", server.address))
        said = self.script("test_smtp_auth.py", server.address, "--user", USER, "--password", PASSWORD, status=1)
        self.assertIn("auth.enabled", said)

    def test_with_auth_it_passes_with_and_without_a_user(self):
        server = self.with_auth(required=True)
        for more in ([], ["--user", USER, "--password", PASSWORD], ["--starttls", "--user", USER, "--password", PASSWORD]):
            with self.subTest(more):
                said = self.script("test_smtp_auth.py", server.address, *more)
                self.assertIn(" 0 failed", said)
                self.assertNotIn(PASSWORD, said)
        said = self.script("test_smtp.py", server.address, "--user", USER, "--password", PASSWORD, "--from", USER)
        self.assertIn("Message accepted for delivery", said)

    def test_where_auth_takes_tls_it_says_so(self):
        server = self.with_auth(require_tls=True)
        said = self.script("test_smtp_auth.py", server.address, "--user", USER, "--password", PASSWORD, status=1)
        self.assertIn("--starttls", said)
        self.script("test_smtp_auth.py", server.address, "--starttls", "--user", USER, "--password", PASSWORD)

    def test_a_wrong_password_fails(self):
        server = self.with_auth()
        said = self.script("test_smtp_auth.py", server.address, "--user", USER, "--password", "wrong", status=1)
        self.assertRegex(said, r"FAILED .*535 5\.7\.8")

    def test_a_refused_recipient_fails(self):
        server = self.server({"allowed_relays": ["192.0.2.1"]})
        said = self.script("test_smtp.py", server.address, status=1)
        self.assertRegex(said, r"FAILED .*554 5\.7\.1")

    def test_a_certificate_of_others_fails_where_it_is_checked(self):
        server = self.server(with_tls(self.pair))
        other = type(self.authority)(self.directory(), "another authority")
        said = self.script("test_smtp.py", server.address, "--starttls", "--ca-file", str(other.file), status=1)
        self.assertIn("certificate verify failed", said)

    def test_nobody_there_is_told_so(self):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            for name in ("test_smtp.py", "test_smtp_auth.py"):
                said = self.script(name, closed.getsockname(), status=1)
                self.assertIn("make run", said)

    def test_a_server_of_another_kind_fails(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.listen(16)
            said = subprocess.Popen(
                [sys.executable, "test_smtp.py", "--host", "127.0.0.1", "--port", str(listener.getsockname()[1])],
                cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            listener.settimeout(0.05)
            while said.poll() is None:
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()
            self.assertEqual(said.returncode, 1)
            self.assertNotIn("Traceback", said.communicate()[0])

    def test_help_names_the_options(self):
        for name in ("test_smtp.py", "test_smtp_auth.py"):
            said = self.script(name, ("localhost", 1), "--help")
            for option in ("--host", "--port", "--starttls", "--user", "--password"):
                self.assertIn(option, said)
            self.assertIn("2525", said)


class ByThemselves(SharedServerCase):
    def test_they_take_nothing_but_the_standard_library(self):
        # -S and -E: nothing that was installed beside Python is found.
        for name in ("test_smtp.py", "test_smtp_auth.py"):
            finished = subprocess.run(
                [sys.executable, "-S", "-E", name, "--host", "127.0.0.1", "--port", str(self.shared.port)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                timeout=120 * PATIENCE, check=False,
            )
            self.assertEqual(finished.returncode, 0, finished.stdout)
