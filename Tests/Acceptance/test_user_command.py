"""`elemta user`: the users file without an editor."""

import json
import os
import pty
import pwd
import stat
import subprocess
import unittest

from harness.case import STRANGER, Case, discard_routes
from harness.server import BINARY, environment
from harness.users import auth_plain
from harness.waiting import PATIENCE


class UserCommand(Case):
    def setUp(self):
        super().setUp()
        self.folder = self.directory()
        self.file = self.folder / "users.json"

    def user(self, *arguments, password=None, status=0):
        finished = subprocess.run(
            [BINARY, "user", *arguments, "--file", self.file],
            input=password, capture_output=True, text=True, env=environment(), cwd=self.folder,
            timeout=60 * PATIENCE, check=False,
        )
        self.assertEqual(finished.returncode, status, finished.stderr)
        return finished

    def test_who_was_added_logs_in_at_a_server_that_runs(self):
        self.user("add", "alice@example.com", password="first\n")
        server = self.server(
            {"auth": {"enabled": True, "file_path": str(self.file)}} | discard_routes())
        for command, password, code in (
            (("add", "alice@example.com"), "second", 235),
            (("add", "alice@example.com", "--bcrypt"), "third", 235),
            (("delete", "alice@example.com"), "third", 535),
        ):
            with self.subTest(command):
                self.user(*command, password=f"{password}\n")
                with self.client(server, STRANGER) as client:
                    self.assertEqual(client.command(auth_plain("alice@example.com", password)).code, code)

    def test_the_file_is_nobody_elses_and_holds_no_password(self):
        self.user("add", "alice", "--sender", "example.com", password="a secret\n")
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        self.assertNotIn("a secret", self.file.read_text())
        (user,) = json.loads(self.file.read_text())["users"]
        self.assertEqual(user["allowed_senders"], ["example.com"])
        (line,) = self.user("list", "--json").stdout.splitlines()
        self.assertEqual(
            json.loads(line), {"user": "alice", "password": "$y$", "allowed_senders": ["example.com"]})

    @unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
    def test_what_root_makes_the_servers_user_can_read(self):
        group = pwd.getpwnam("nobody").pw_gid
        self.folder.chmod(0o755)
        configuration = f"user: nobody\nauth: {{enabled: true, file_path: {self.file}}}\n"
        (self.folder / "elemta.yaml").write_text(configuration)
        self.user("add", "alice@example.com", password="first\n")
        status = self.file.stat()
        self.assertEqual((status.st_uid, status.st_gid), (0, group))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o640)
        server = self.unstarted_server(
            {"user": "nobody", "auth": {"enabled": True, "file_path": str(self.file)}} | discard_routes(),
            directory=self.folder,
        ).start()
        with self.client(server, STRANGER) as client:
            self.assertEqual(client.command(auth_plain("alice@example.com", "first")).code, 235)

    def test_check_says_whether_a_password_is_right(self):
        self.user("add", "alice", password="right\n")
        (self.folder / "elemta.yaml").write_text(
            f"auth: {{enabled: true, file_path: {self.file}}}\n")
        self.user("check", "alice", password="right\n")
        self.user("check", "alice", password="wrong\n", status=77)
        self.user("check", "bob", password="right\n", status=77)
        # The file that is named, whatever the configuration says.
        (self.folder / "elemta.yaml").write_text(
            f"auth: {{enabled: true, file_path: {self.folder}/none.json}}\n")
        self.user("check", "alice", password="right\n")

    def test_mistakes_change_nothing(self):
        self.user("add", "alice", password="one\n")
        before = self.file.read_text()
        self.user("add", "bob", password="\n", status=65)
        self.user("add", "bob", "--sender", "no sender", password="x\n", status=65)
        self.user("add", "bob", "--bcrypt", password="x" * 73 + "\n", status=65)
        self.user("delete", "bob", status=67)
        self.assertEqual(self.file.read_text(), before)
        self.file.write_text("{")
        self.user("add", "bob", password="x\n", status=78)
        self.assertEqual(self.file.read_text(), "{")

    def test_a_terminal_is_asked_twice_and_shows_nothing(self):
        for answers, status in ((("typed", "typed"), 0), (("typed", "mistyped"), 65)):
            with self.subTest(answers):
                process, terminal = pty.fork()
                if process == 0:
                    os.execve(BINARY, [BINARY, "user", "add", "alice", "--file", str(self.file)], environment())
                shown = b""
                for prompt, answer in zip((b"New password: ", b"Again: "), answers):
                    while prompt not in shown:
                        shown += os.read(terminal, 1000)
                    os.write(terminal, answer.encode() + b"\n")
                try:
                    while octets := os.read(terminal, 1000):
                        shown += octets
                except OSError:
                    pass  # how a terminal ends
                os.close(terminal)
                self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), status)
                self.assertNotIn(b"typed", shown)
