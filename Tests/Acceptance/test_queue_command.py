"""`elemta queue` as operators and their scripts use it: pagers, selections, failing disks, exit statuses."""

import json
import os
import pathlib
import pwd
import shutil
import socket
import struct
import subprocess
import unittest

from harness import tools
from harness.case import Case, routes_to
from harness.disk import FOR_EVER, Disk
from harness.server import BINARY, environment, run_elemta
from harness.waiting import PATIENCE, until

WAITING = {"queue": {"retry_schedule": [3600]}}
# A line of `queue list --json` is about 700 octets with them.
LONG_SENDER = f"{'a' * 60}@{'.'.join(['b' * 60] * 3)}.example"
LONG_RECIPIENT = f"{'c' * 60}@{'.'.join(['d' * 60] * 3)}.example"


def started(server, *arguments, **options):
    """`elemta ARGUMENTS` of which nobody reads anything yet."""
    return subprocess.Popen(
        [BINARY, *arguments, "--config", server.file], cwd=server.directory, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )


class Queued(Case):
    def queued(self, count=3, **configuration):
        """A server with messages that wait, and their ids."""
        server = self.server({**WAITING, **routes_to(self.sink(listening=False)), **configuration})
        with self.client(server) as client:
            ids = [client.message("a@example.org", ["b@example.com"], b"Subject: x\r\n\r\n").message_id for _ in range(count)]
        return server, ids


class Paused(Case):
    COUNT = 4_000

    def filled(self):
        server = self.server({**WAITING, **routes_to(self.sink(listening=False))})
        tools.smtp_source(server.address, "-s", 50, "-m", self.COUNT, "-l", 100, "-d",
                          "-f", LONG_SENDER, "-t", LONG_RECIPIENT)
        return server

    def answering(self, server):
        names = pathlib.Path(f"/proc/{server.process.pid}/task").glob("*/comm")
        return sum(name.read_text() == "elemta-control\n" for name in names)

    def paused(self, server):
        pager = started(server, "queue", "list", "--json")
        self.addCleanup(pager.communicate)
        self.addCleanup(pager.kill)
        return pager


class Pagers(Paused):
    """Lists that are read slowly, or not to the end."""

    def test_a_paused_list_holds_nobody_up_and_is_whole(self):
        server = self.filled()
        pager = self.paused(server)
        until(lambda: self.answering(server) == 1, "a list on its way")
        for arguments in (["hold", "--all"], ["stats"], ["list", "--state", "failed"], ["release", "--all"]):
            finished = subprocess.run(
                [BINARY, "queue", *arguments, "--config", server.file], cwd=server.directory, env=environment(),
                stdout=subprocess.DEVNULL, timeout=20 * PATIENCE, check=False)
            self.assertEqual(finished.returncode, 0, arguments)
        self.assertIsNone(pager.poll())
        said, complaints = pager.communicate(timeout=60 * PATIENCE)
        self.assertEqual((pager.returncode, complaints), (0, b""))
        ids = [json.loads(line)["id"] for line in said.splitlines()]
        self.assertEqual((len(ids), len(set(ids))), (self.COUNT, self.COUNT))

    def test_who_goes_away_ends_his_request_and_too_many_are_told_to_come_back(self):
        server = self.filled()
        pagers = [self.paused(server) for _ in range(16)]
        until(lambda: self.answering(server) == 16, "16 lists on their way")
        said = server.run("queue", "list", status=os.EX_TEMPFAIL)
        self.assertIn("try again later", said)
        server.run("queue", "hold", "--all")
        for pager in pagers[1:]:
            pager.kill()
        until(lambda: self.answering(server) == 1, "the end of what nobody reads")
        self.assertEqual(len(server.queue()), self.COUNT)
        # A pager keeps no server from ending, and learns that its list isn't whole.
        server.stop()
        _, complaints = pagers[0].communicate(timeout=20 * PATIENCE)
        self.assertEqual(pagers[0].returncode, os.EX_UNAVAILABLE)
        self.assertIn(b"went away", complaints)


class Lookers(Paused):
    """Who looks at the queue of a stopped server is in nobody's way."""

    COUNT = 1_500

    def stopped(self):
        server = self.filled()
        server.stop()
        pager = self.paused(server)
        # It has the spool open: what it prints doesn't fit into the pipe.
        until(lambda: self.has_open(pager, "spool.mdb"), "a list that has begun")
        return server, pager

    @staticmethod
    def has_open(process, name):
        maps = pathlib.Path(f"/proc/{process.pid}/maps")
        return maps.exists() and name in maps.read_text()

    def assert_whole(self, pager, ids):
        said, complaints = pager.communicate(timeout=60 * PATIENCE)
        self.assertEqual((pager.returncode, complaints), (0, b""))
        self.assertEqual([json.loads(line)["id"] for line in said.splitlines()], ids)

    def test_a_second_one_and_a_server_that_starts_go_on_beside_it(self):
        server, pager = self.stopped()
        ids = [message["id"] for message in server.queue()]
        self.assertEqual(len(ids), self.COUNT)
        server.start()
        with self.client(server) as client:
            new = client.message("a@example.org", ["b@example.com"], b"\r\n").message_id
        # What is overwritten meanwhile isn't what the list still reads.
        server.run("queue", "hold", "--all")
        self.assertIsNone(pager.poll())
        self.assert_whole(pager, [*ids, new])

    def test_whoever_has_the_queue_is_named_and_not_who_looks(self):
        server, pager = self.stopped()
        server.run("queue", "hold", "--all")
        server.start()
        said = run_elemta("server", "--config", server.file, directory=server.directory, status=os.EX_TEMPFAIL)
        self.assertIn(f"held by process {server.process.pid}", said)
        self.assertIsNone(pager.poll())

    def test_a_compaction_beside_it_costs_nothing(self):
        # The file that is opened next is another one than that of the lock file.
        server, pager = self.stopped()
        ids = [message["id"] for message in server.queue()]
        server.run("queue", "delete", *ids[:-1])
        server.run("queue", "compact")
        for _ in range(3):
            server.start()
            with self.client(server) as client:
                ids.append(client.message("a@example.org", ["b@example.com"], b"\r\n").message_id)
            server.stop()
        self.assertIsNone(pager.poll())
        self.assertEqual([message["id"] for message in server.queue()], ids[self.COUNT - 1 :])
        self.assertNotIn("corrupt", server.log)
        # To the end of what it sees: the file as it was when it was replaced.
        _, complaints = pager.communicate(timeout=60 * PATIENCE)
        self.assertEqual((pager.returncode, complaints), (0, b""))


class Selections(Queued):
    def test_every_command_takes_ids_filters_and_all(self):
        server, ids = self.queued()
        with self.client(server) as client:
            other = client.message("", ["c@other.example"], b"Subject: y\r\n\r\n").message_id
        everything = [*ids, other]
        until(lambda: "destination_unreachable" in server.log, "the destination found to be down")
        server.run("queue", "hold", ids[0])
        selections = (
            (ids[:2], ids[:2]), (["--all"], everything), (["--domain", "other.example"], [other]),
            (["--sender", "a@example.org"], ids), (["--sender", "<>"], [other]), (["--state", "hold"], ids[:1]),
        )
        for state in ("running", "stopped"):
            if state == "stopped":
                server.stop()
            # Both read the same way: a few show that.
            for arguments, expected in selections if state == "running" else selections[::2]:
                for command in ("list", "show", "why"):
                    with self.subTest(state=state, command=command, arguments=arguments):
                        said = server.run("queue", command, *arguments, "--json")
                        self.assertEqual([json.loads(line)["id"] for line in said.splitlines()], expected)
                with self.subTest(state=state, command="stats", arguments=arguments):
                    counts = json.loads(server.run("queue", "stats", *arguments, "--json"))
                    self.assertEqual(counts["messages"], len(expected))
                    if arguments != ["--all"]:
                        self.assertEqual(counts["hold"], int(ids[0] in expected))
            self.assertEqual(json.loads(server.run("queue", "stats", "--json"))["messages"], len(everything))
            # One after the other for people, too.
            said = server.run("queue", "show", *ids[:2])
            self.assertRegex(said, rf"(?s)\Aid +{ids[0]}\n.*Subject: x\n\nid +{ids[1]}\n")

    def test_what_is_missing_is_said_and_the_others_are_shown(self):
        server, ids = self.queued(1)
        for state in ("running", "stopped"):
            if state == "stopped":
                server.stop()
            for command in ("list", "show", "why", "stats"):
                with self.subTest(state=state, command=command):
                    said = server.run("queue", command, "1hthhhhhhhhhh", ids[0], status=os.EX_NOINPUT)
                    self.assertIn("1hthhhhhhhhhh is not in the queue", said)
                    self.assertIn("messages     1" if command == "stats" else ids[0], said)

    def test_contradictions_are_usage_errors(self):
        server = self.unstarted_server()
        server.write_configuration()
        for arguments in (["list", "1hthhhhhhhhhh", "--all"], ["list", "--all", "--state", "hold"], ["show"], ["why"],
                          ["delete"], ["stats", "--all", "--domain", "a.example"], ["show", "--raw", "--all"]):
            with self.subTest(arguments):
                server.run("queue", *arguments, status=os.EX_USAGE)

    def test_as_many_ids_as_a_command_line_holds(self):
        server, ids = self.queued(1)
        # More than the 64 KiB of most buffers; xargs fills 128 KiB.
        missing = [f"1h{number:011d}" for number in range(4_800)]
        said = server.run("queue", "delete", ids[0], *missing, "--json", status=os.EX_NOINPUT)
        result = json.loads(said.splitlines()[-1])
        self.assertEqual((result["changed"], len(result["missing"])), (1, len(missing)))

    def test_a_request_without_an_end_is_told_so(self):
        server, _ = self.queued(0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server.directory / "queue/control.sock"))
            client.settimeout(20 * PATIENCE)
            client.sendall(b"queue\0" + b"x" * (4 << 20))
            answer = b""
            while octets := client.recv(65536):
                answer += octets
        kind, length = struct.unpack(">cI", answer[:5])
        self.assertEqual(kind, b"e")
        self.assertIn(b"longer than 4194304 octets", answer[5 : 5 + length])
        self.assertEqual(answer[5 + length :], b"x\0\0\0\1" + bytes([os.EX_USAGE]))


class FailingDisk(Case):
    def test_while_nothing_can_be_written_commands_and_the_server_still_end(self):
        sink = self.sink(faults={"rcpt": [b"450 4.2.1 busy\r\n"] * 100})
        directory = self.directory()
        disk = Disk(directory)
        server = self.server({"queue": {"retry_schedule": [1]}, **routes_to(sink)}, directory=directory, variables=disk.variables)
        with self.client(server) as client:
            identifier = client.message("a@example.org", ["b@example.com"], b"\r\n").message_id
        until(lambda: " message_deferred " in server.log, "a deferred message")
        disk.fail(["sync"], count=FOR_EVER)
        # A result that can't be written is tried again each second.
        until(lambda: "queue_stalled" in server.log, "a stall", 30)
        tried, reopened = disk.failed, server.log.count("queue_reopened")
        for arguments in (["hold", "--all"], ["delete", identifier]):
            said = server.run("queue", *arguments, status=1)
            self.assertIn("elemta: ", said)
        self.assertEqual([message["id"] for message in server.queue()], [identifier])
        until(lambda: disk.failed >= tried + 4, "further attempts", 30)
        self.assertEqual(server.log.count("queue_stalled"), 1)
        self.assertEqual(server.log.count("queue_reopened"), reopened)
        disk.heal()
        until(lambda: "queue_resumed" in server.log, "the end of the stall", 30)
        self.assertEqual(server.log.count("queue_resumed"), 1)
        self.assertIn("held: 1", server.run("queue", "hold", "--all"))
        disk.fail(["sync"], count=FOR_EVER)
        server.run("queue", "release", "--all", status=1)
        server.process.terminate()
        self.assertEqual(server.wait(10), 0)


class ExitStatuses(Queued):
    def test_what_cannot_be_written_is_an_error_and_what_nobody_reads_is_not(self):
        server, ids = self.queued()
        for state in ("running", "stopped"):
            if state == "stopped":
                server.stop()
            for arguments in (["list"], ["stats"], ["show", ids[0]], ["show", "--raw", ids[0]], ["why", "--all"]):
                with self.subTest(state=state, arguments=arguments), open("/dev/full", "wb") as full:
                    finished = subprocess.run(
                        [BINARY, "queue", *arguments, "--config", server.file], cwd=server.directory,
                        env=environment(), stdout=full, stderr=subprocess.PIPE, timeout=20 * PATIENCE, check=False)
                    self.assertEqual(finished.returncode, os.EX_IOERR)
                    self.assertEqual(finished.stderr, b"elemta: standard output: No space left on device\n")
            with self.subTest(state=state):
                process = started(server, "queue", "list")
                process.stdout.close()
                self.assertEqual(process.stderr.read(), b"")
                process.stderr.close()
                self.assertEqual(process.wait(20 * PATIENCE), 0)

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_somebody_elses_queue_is_not_an_empty_one(self):
        server, _ = self.queued(1)
        server.directory.chmod(0o755)
        # Where anybody may run it from.
        program = server.directory / "elemta"
        shutil.copy(BINARY, program)
        program.chmod(0o755)
        for state in ("running", "stopped"):
            if state == "stopped":
                server.stop()
            for command in (["queue", "list"], ["queue", "hold", "--all"], ["status"], ["health"]):
                with self.subTest(state=state, command=command):
                    finished = subprocess.run(
                        [program, *command, "--config", server.file], cwd=server.directory,
                        env=environment(), user=pwd.getpwnam("nobody").pw_uid, group=pwd.getpwnam("nobody").pw_gid,
                        extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20 * PATIENCE,
                        check=False)
                    self.assertEqual(finished.returncode, os.EX_NOPERM, finished.stdout)
                    self.assertEqual(
                        finished.stdout,
                        b"elemta: no permission for the queue in queue, which belongs to root: be root for this\n")
