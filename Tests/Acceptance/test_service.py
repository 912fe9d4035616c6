"""As a service: the user it becomes, what systemd is told and hands over, JSON for log collectors."""

import contextlib
import json
import os
import pathlib
import pwd
import re
import socket
import subprocess
import unittest

from harness.case import STRANGER, Case, routes_to
from harness.client import Client
from harness.server import BINARY, environment
from harness.waiting import PATIENCE, until

ACCOUNT = "nobody"


@unittest.skipUnless(os.geteuid() == 0, "only root becomes somebody else")
class User(Case):
    def prepared(self, **configuration):
        directory = self.directory()
        # Of a kind that the user may look into.
        directory.chmod(0o755)
        return self.unstarted_server({"user": ACCOUNT, **configuration}, directory=directory)

    def status(self, server, key):
        text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
        return re.search(rf"^{key}:\s*(.*)$", text, re.MULTILINE)[1].split()

    def test_it_gives_up_root_and_owns_what_it_writes(self):
        sink = self.sink()
        server = self.prepared(logging={"file": "logs/elemta.log"}, **routes_to(sink)).start()
        account = pwd.getpwnam(ACCOUNT)
        self.assertEqual(set(self.status(server, "Uid")), {str(account.pw_uid)})
        self.assertEqual(set(self.status(server, "Gid")), {str(account.pw_gid)})
        self.assertNotIn("0", self.status(server, "Groups"))
        self.assertEqual(int(self.status(server, "CapEff")[0], 16), 0)
        with self.client(server) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n" * 50_000), "250")
        sink.wait_for(1)
        for path in [server.directory / "logs/elemta.log", *(server.directory / "queue").rglob("*")]:
            with contextlib.suppress(FileNotFoundError):  # a content file that has been delivered meanwhile
                self.assertEqual(path.stat().st_uid, account.pw_uid, path)

    def test_a_log_that_it_could_not_make_anew_is_told_of(self):
        server = self.prepared(logging={"file": "elemta.log"}).start()
        warning = rf"logging.file: the user {ACCOUNT} can't make a file in "
        self.assertLogged(server, re.compile(f"configuration_warning .*{warning}"))
        self.assertRegex(server.run("check"), f"warning: {warning}")
        server.stop()
        server = self.prepared(logging={"file": "logs/elemta.log"}).start()
        self.assertNotIn("configuration_warning", server.log)

    def test_a_queue_that_root_has_used_is_taken_over(self):
        server = self.prepared()
        server.configuration["user"] = None
        server.start()
        self.assertLogged(server, "running_as_root")
        with self.client(server) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        server.stop()
        server.configuration["user"] = ACCOUNT
        server.start()
        with self.client(server) as client:
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")

    def test_what_lies_elsewhere_is_not_given_away(self):
        server = self.prepared()
        outside = server.directory / "outside"
        outside.mkdir()
        (outside / "file").write_text("root's")
        queue = server.directory / "queue"
        queue.mkdir()
        (queue / "content").symlink_to(outside)
        os.link(outside / "file", queue / "reserve")
        server.launch()
        until(lambda: "ready" in server.log or not server.is_running, "an end of the start")
        self.assertEqual((outside / "file").stat().st_uid, 0)
        self.assertEqual(outside.stat().st_uid, 0)
        server.kill()

    def test_a_directory_that_is_no_queue_is_not_given_away(self):
        server = self.prepared(queue_dir="work")
        work = server.directory / "work"
        work.mkdir()
        (work / "thesis.tex").write_text("\\section{}")
        server.launch()
        self.assertEqual(server.wait(), 71)
        server.process = None
        self.assertLogged(server, "thesis.tex")
        self.assertEqual((work / "thesis.tex").stat().st_uid, 0)

    def test_check_warns_of_files_that_the_user_cannot_read(self):
        directory = self.directory()
        users, configuration = directory / "users.json", directory / "elemta.yaml"
        users.write_text('{"users": []}')
        configuration.write_text(f"user: {ACCOUNT}\nauth: {{enabled: true, file_path: {users}}}\n")
        account = pwd.getpwnam(ACCOUNT)
        for owner, group, mode, is_readable in (
            (0, 0, 0o600, False),
            (0, 0, 0o640, False),
            (0, account.pw_gid, 0o600, False),
            (0, account.pw_gid, 0o640, True),
            (account.pw_uid, 0, 0o600, True),
            (0, 0, 0o644, True),
        ):
            with self.subTest(owner=owner, group=group, mode=oct(mode)):
                os.chown(users, owner, group)
                users.chmod(mode)
                checked = subprocess.run(
                    [BINARY, "check", "--config", configuration], capture_output=True, text=True,
                    env=environment(), cwd=directory, timeout=60 * PATIENCE, check=False,
                )
                self.assertEqual(checked.returncode, 0, checked.stderr)
                warning = f"warning: {users}: the user {ACCOUNT} can't read it"
                self.assertEqual(warning in checked.stderr, not is_readable, checked.stderr)

    def test_an_unknown_user_is_an_error(self):
        server = self.prepared(user="no-such-user")
        server.launch()
        self.assertEqual(server.wait(), 78)
        server.process = None
        self.assertLogged(server, 'there is no user "no-such-user"')
        said = server.run("check", status=78)
        self.assertIn('elemta: user: there is no user "no-such-user"', said)
        self.assertNotIn("warning", said)


class Systemd(Case):
    def notified(self, receiver):
        receiver.settimeout(20 * PATIENCE)
        return receiver.recv(4096).decode().split("\n")

    def test_it_is_told_when_the_server_is_ready_alive_and_stopping(self):
        directory = self.directory()
        path = directory / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(path))
            server = self.unstarted_server(
                directory=directory, variables={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"})
            server.start()
            state, status = self.notified(receiver)
            self.assertEqual(state, "READY=1")
            self.assertIn(f":{server.port}", status)
            self.assertEqual(self.notified(receiver), ["WATCHDOG=1"])
            server.stop()
            said = self.notified(receiver)
            while said == ["WATCHDOG=1"]:
                said = self.notified(receiver)
            self.assertEqual(said[0], "STOPPING=1")

    def test_an_abstract_name_is_one_too(self):
        name = f"elemta-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(f"\0{name}")
            self.unstarted_server(variables={"NOTIFY_SOCKET": f"@{name}"}).start()
            self.assertEqual(self.notified(receiver)[0], "READY=1")

    def handed(self, listening, configuration):
        server = self.unstarted_server(configuration)
        number = listening.fileno()
        server.descriptors = (number,)
        server.launcher = [
            "sh", "-c", f'exec 3<&{number}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh"]
        return server

    def test_sockets_outlive_the_server(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            for _ in range(2):
                waiting = socket.create_connection(("127.0.0.1", port))
                self.addCleanup(waiting.close)
                server = self.handed(listening, {"listen_addr": f"127.0.0.1:{port}"}).start()
                # Who came while nobody served is served now.
                waiting.settimeout(20 * PATIENCE)
                self.assertEqual(waiting.recv(100)[:4], b"220 ")
                server.stop()

    def test_one_socket_for_all_addresses_serves_both_families(self):
        self.needs_ipv6()
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
            port = listening.getsockname()[1]
            self.handed(listening, {"listen_addr": f":{port}"}).start()
            for address in (("127.0.0.1", port), ("::1", port)):
                with Client(address, STRANGER if "." in address[0] else None) as client:
                    self.assertReply(client.greeting, "220")

    def test_what_no_socket_was_handed_over_for_is_bound(self):
        self.needs_ipv6()
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=False) as listening:
            port = listening.getsockname()[1]
            self.handed(listening, {"listen_addr": f":{port}"}).start()
            for address in (("127.0.0.1", port), ("::1", port)):
                with Client(address) as client:
                    self.assertReply(client.greeting, "220")

    def test_a_socket_that_nobody_asked_for_is_an_error(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = self.handed(listening, {"listen_addr": "127.0.0.1:0"})
            server.launch()
            self.assertEqual(server.wait(), 71)
            server.process = None
            self.assertLogged(server, "no listener of the configuration has this address")


class JSONLog(Case):
    def test_every_line_is_an_object(self):
        server = self.unstarted_server({"logging": {"format": "json", "file": "elemta.log"}})
        server.launch()
        until(lambda: '"event":"ready"' in server.log, "the event `ready`")
        (ready,) = (line for line in map(json.loads, server.log.splitlines()) if line["event"] == "ready")
        host, port = ready["listeners"].rsplit(":", 1)
        with Client((host, int(port))) as client:
            client.ehlo("client.example.org")
            self.assertReply(
                client.message("\"a\\\"b\"@example.org", ["b@example.com"], b"x\r\n"), "250")
        server.stop()
        lines = [json.loads(line) for line in server.log.splitlines()]
        (accepted,) = (line for line in lines if line["event"] == "message_accepted")
        self.assertEqual((accepted["recipients"], type(accepted["octets"])), (1, int))
        self.assertIn('"a\\"b"@example.org', accepted["from"])
        self.assertEqual((server.directory / "elemta.log").read_text(), server.log)
