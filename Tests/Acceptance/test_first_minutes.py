"""What somebody sees who starts it for the first time, and how mistakes are answered."""

import os
import pty
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
import unittest

from harness.case import Case
from harness.server import BINARY, environment, run_elemta
from harness.waiting import PATIENCE, until

NOBODY = 65534


class Words(Case):
    def at_a_terminal(self, *arguments):
        """What `elemta` without a configuration says at a terminal until it is ready, and its end."""
        terminal, end = pty.openpty()
        process = subprocess.Popen(
            [BINARY, *arguments], cwd=self.directory(), stdout=end, stderr=end,
            stdin=subprocess.DEVNULL, env=environment(),
        )
        os.close(end)
        self.addCleanup(os.close, terminal)
        said = b""
        deadline = time.monotonic() + 30 * PATIENCE
        while b" ready " not in said and time.monotonic() < deadline:
            said += os.read(terminal, 65536)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30 * PATIENCE), 0)
        return said.decode().replace("\r\n", "\n")

    def test_without_a_configuration_five_lines_say_what_is_on_and_off(self):
        said = self.at_a_terminal("--listen", "127.0.0.1:0")
        lines = [line for line in said.split("\n") if re.match(r"[A-Z][a-z ]+: ", line)]
        self.assertEqual(
            [line.split(":")[0] for line in lines],
            ["Listening on", "Queue", "May relay", "Local domains", "Off"],
        )
        self.assertRegex(lines[0], r"127\.0\.0\.1:\d+ as ")
        self.assertIn("queue", lines[1])
        self.assertIn("127.0.0.1", lines[2])
        for word in ("TLS (tls.enabled)", "authentication (auth.enabled)", "http.listen_addr"):
            self.assertIn(word, lines[4])
        self.assertIn('configuration="built-in defaults"', said)

    def test_elsewhere_the_line_ready_says_it(self):
        server = self.server()
        (ready,) = (line for line in server.log.splitlines() if " ready " in line)
        for field in ("listeners", "queue", "may_relay", "local_domains", "off", "descriptors"):
            self.assertIn(f" {field}=", ready)
        self.assertNotIn("Listening on", server.log)


class Mistakes(Case):
    def refused(self, server, status):
        server.launch()
        self.assertEqual(server.wait(), status, server.log)
        server.process = None
        return server.log

    def test_a_port_in_use_is_answered_with_by_whom(self):
        for address, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            if family == socket.AF_INET6:
                self.needs_ipv6()
            with self.subTest(address), socket.create_server((address, 0), family=family) as taken:
                port = taken.getsockname()[1]
                host = f"[{address}]" if ":" in address else address
                server = self.unstarted_server({"listen_addr": f"{host}:{port}"})
                said = self.refused(server, os.EX_OSERR)
                name = open("/proc/self/comm").read().strip()
                self.assertIn(f"process {os.getpid()} ({name}) listens there", said)

    def test_a_port_that_a_connection_has_is_answered_with_whose(self):
        with socket.create_server(("127.0.0.1", 0)) as peer, socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.connect(peer.getsockname())
            server = self.unstarted_server({"listen_addr": "127.0.0.1:%d" % taken.getsockname()[1]})
            said = self.refused(server, os.EX_OSERR)
            self.assertRegex(said, rf"process {os.getpid()} \(.+\) has a connection from there")

    def test_too_few_descriptors_to_begin_are_told_of_before_anything_is_opened(self):
        for limit in (8, 25, 40):
            with self.subTest(limit):
                server = self.unstarted_server()
                server.launcher = ["prlimit", f"--nofile={limit}:{limit}", "--"]
                said = self.refused(server, os.EX_OSERR)
                self.assertRegex(said, rf"the descriptor limit is {limit}, and .* takes 64; .*LimitNOFILE")
                self.assertFalse((server.directory / "queue").exists())

    def test_few_descriptors_are_raised_and_then_told_of(self):
        server = self.unstarted_server()
        server.launcher = ["prlimit", "--nofile=300:4096", "--"]
        server.start()
        self.assertNotIn("descriptors_short", server.log)
        self.assertLogged(server, re.compile(r" ready .*descriptors=4096\b"))
        server.stop()
        server.launcher = ["prlimit", "--nofile=900:900", "--"]
        server.start()
        self.assertLogged(server, re.compile(r"descriptors_short .*LimitNOFILE.* limit=900 max_connections=16 wanted=\d{4}"))

    def test_more_clients_than_descriptors_are_lowered_to_what_they_allow(self):
        server = self.unstarted_server(
            {"limits": {"max_connections": 5000}, "delivery": {"max_connections": 1000}})
        server.launcher = ["prlimit", "--nofile=3000:3000", "--"]
        server.start()
        self.assertRegex(
            server.log,
            r"descriptors_short .*raise the hard limit to 6576 .* limit=3000 max_connections=1424 wanted=6576")
        self.assertLogged(server, re.compile(r" ready .*max_connections=1424\b"))

    def test_a_key_misspelt_is_answered_with_the_nearest(self):
        directory = self.directory()
        file = directory / "elemta.yaml"
        for key, nearest in (("lsiten_addr: ':0'", "listen_addr"), ("local_domain: [a.example]", "local_domains"),
                             ("quene_dir: q", "queue_dir")):
            file.write_text(f"{key}\n")
            said = run_elemta("check", "--config", file, status=os.EX_CONFIG, directory=directory)
            self.assertIn(f"did you mean {nearest}?", said)
        file.write_text("zzz: 1\n")
        said = run_elemta("check", "--config", file, status=os.EX_CONFIG, directory=directory)
        self.assertNotIn("did you mean", said)

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "only root becomes nobody")
    def test_a_queue_of_somebody_else_is_answered_with_whose_it_is(self):
        server = self.unstarted_server()
        server.directory.chmod(0o755)
        (server.directory / "queue").mkdir(0o755)
        server.launcher = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"]
        said = self.refused(server, os.EX_UNAVAILABLE)
        self.assertRegex(said, rf"queue is of user root \(0\) with mode 755, and we are user \w+ \({NOBODY}\)")

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "only root becomes nobody")
    def test_a_port_of_root_is_answered_with_how_to_get_it(self):
        if int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read()) <= 25:
            self.skipTest("everybody may have port 25 here")
        server = self.unstarted_server({"listen_addr": "127.0.99.1:25"})
        server.directory.chmod(0o755)
        server.launcher = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"]
        said = self.refused(server, os.EX_OSERR)
        for way in ("the key user", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "setcap cap_net_bind_service=+ep",
                    "net.ipv4.ip_unprivileged_port_start"):
            self.assertIn(way, said)


class Help(Case):
    def test_every_command_explains_itself(self):
        commands = [[]]
        for command in commands:
            with self.subTest(command):
                said = run_elemta(*command, "--help")
                overview = said.split("OVERVIEW:")[1].split("USAGE:")[0].strip()
                self.assertRegex(overview, r"^[A-Z]\w+ (?s:.*)\.$")
                listed = re.search(r"SUBCOMMANDS:\n(.*?)\n\n", said, re.DOTALL)
                for name in re.findall(r"^  (\w+)", listed[1] if listed else "", re.MULTILINE):
                    commands.append([*command, name])
                # Each argument and option has words beside or below it.
                for block in re.findall(r"(?:ARGUMENTS|OPTIONS):\n(.*?)(?:\n\n|\Z)", said, re.DOTALL):
                    entries = re.split(r"^  (?=\S)", block, flags=re.MULTILINE)[1:]
                    for entry in entries:
                        words = re.split(r"\s{2,}|\n\s*", entry.strip(), maxsplit=1)
                        self.assertEqual(len(words), 2, f"{command}: {entry}")
        self.assertGreater(len(commands), 15)

    def test_exit_statuses_are_told(self):
        for command in ("server", "check", "queue", "user", "explain", "sendmail"):
            with self.subTest(command):
                self.assertRegex(run_elemta(command, "--help"), r"Exit\s+status")

    def test_the_version_is_one_line(self):
        said = run_elemta("version")
        self.assertRegex(said, r"^elemta \d+\.\d+\.\d+\n$")
        self.assertEqual(run_elemta("--version"), said)
