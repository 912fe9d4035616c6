"""The program as it is typed."""

import json
import os
import subprocess
import tomllib
import unittest

from harness.case import Case, routes_to
from harness.client import Client
from harness.server import BINARY, DEFAULTS, ROOT, merged, run_elemta, yaml
from harness.tools import run
from harness.waiting import until


class Help(Case):
    def test_help_and_version_answer_with_status_0(self):
        for arguments, said in (
            (["--help"], "USAGE"),
            (["server", "--help"], "--config"),
            (["help", "server"], "--listen"),
            (["check", "--help"], "--config"),
            (["queue", "--help"], "delete"),
            (["queue", "list", "--help"], "--config"),
            (["--version"], "."),
        ):
            with self.subTest(arguments):
                self.assertIn(said, run_elemta(*arguments))

    def test_what_is_not_understood_is_a_usage_error(self):
        for arguments in (["bogus"], ["--bogus"], ["queue", "bogus"], ["queue", "show", "no-such-id!"]):
            with self.subTest(arguments):
                run_elemta(*arguments, status=os.EX_USAGE)

    @unittest.skipUnless(os.geteuid() == 0, "only root hides /proc from a process")
    def test_without_proc_it_says_that_it_does_not_know_its_arguments(self):
        hidden = "mount -t tmpfs none /proc && exec \"$0\" check"
        said = run(["unshare", "--mount", "--propagation", "private", "sh", "-c", hidden, BINARY], status=os.EX_OSERR)
        self.assertIn("/proc isn't mounted", said)


class Check(Case):
    def check(self, content, name="elemta.yaml", status=os.EX_CONFIG, variables=None):
        directory = self.directory()
        file = directory / name
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif content is not None:
            file.write_text(content)
        said = run_elemta("check", "--config", file, status=status, directory=directory, variables=variables)
        self.assertFalse((directory / "queue").exists(), "checking makes no queue")
        return said

    def test_a_good_file_is_told_so(self):
        said = self.check(yaml(DEFAULTS), status=0)
        self.assertIn("mail.example.com", said)

    def test_the_files_we_ship_are_good_and_the_same(self):
        shown = []
        directory = self.directory()
        # As `make run` does before it starts the server.
        subprocess.run([ROOT / "scripts/certificate", directory / "config/certs"], check=True,
                       stdout=subprocess.DEVNULL)
        for name in ("elemta.yaml", "elemta.toml", "dev.yaml"):
            path = ROOT / "config" / name
            with self.subTest(name):
                said = run_elemta("check", "--config", path, directory=directory)
                if name != "dev.yaml":
                    shown.append([line for line in said.splitlines() if name not in line])
        self.assertEqual(*shown)
        tomllib.loads((ROOT / "config/elemta.toml").read_text())

    def test_every_error_is_printed_with_line_and_key(self):
        said = self.check(
            "hostname: mail.example.com\nmax_message_size: many\nno_such_key: 1\nqueue:\n  max_workers: -3\n"
            "limits:\n  bare_newline: sometimes\n"
        )
        for line, key in ((2, "max_message_size"), (3, "no_such_key"), (5, "queue.max_workers"),
                          (7, "limits.bare_newline")):
            self.assertRegex(said, rf"elemta\.yaml:{line}\b.*{key.replace('.', '[.]')}")

    def test_toml_is_read_too(self):
        said = self.check('hostname = "mail.example.com"\nlisten_addr = ":2525"\n[queue]\nmax_workers = 2\n',
                          "elemta.toml", 0)
        self.assertIn("mail.example.com", said)
        said = self.check('hostname = 5\n[queue]\nmax_workers = "two"\nno_such = 1\n', "elemta.toml")
        for key in ("hostname", "queue.max_workers", "queue.no_such"):
            self.assertIn(key, said)

    def test_doubled_keys_are_errors(self):
        self.assertIn("hostname", self.check("hostname: a.example.com\nhostname: b.example.com\n"))
        self.assertIn("max_workers", self.check("queue: {max_workers: 1, max_workers: 2}\n"))
        self.check('hostname = "a.example.com"\nhostname = "b.example.com"\n', "elemta.toml")

    def test_a_local_domain_without_a_route_is_refused(self):
        self.assertIn("example.com", self.check("local_domains: [example.com]\n"))

    def test_implicit_tls_without_tls_is_an_error(self):
        self.assertIn("tls", self.check("listeners: [{address: \":465\", tls: implicit}]\n"))

    def test_harmless_oddities_are_fine(self):
        for name, content in {
            "byte-order mark and CRLF": b"\xef\xbb\xbfhostname: mail.example.com\r\nqueue:\r\n  max_workers: 2\r\n",
            "flow style": b"{hostname: mail.example.com, queue: {max_workers: 2}}",
            "empty": b"",
            "comments only": b"# nothing\n",
        }.items():
            with self.subTest(name):
                self.check(content, status=0)

    def test_hostile_files_are_refused_in_bounded_time_and_memory(self):
        bomb = b"a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + b"".join(
            b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)
        )
        cases = {
            "binary": os.urandom(20_000),
            "alias bomb": bomb,
            "deep nesting": b"hostname: " + b"[" * 100_000,
            "deep mappings": b"{a: " * 100_000,
            "a long line": b"hostname: " + b"x" * 8_000_000 + b"\n",
            "not UTF-8": b"hostname: m\xff\xfel\n",
            "a scalar": b"just text",
            "a list": b"- a\n- b\n",
        }
        for name, content in cases.items():
            for file in ("elemta.yaml", "elemta.toml"):
                with self.subTest(name=name, file=file):
                    said = self.check(content, file)
                    self.assertLess(len(said), 20_000, "the error quotes too much")

    def test_a_folder_and_a_missing_file_are_refused(self):
        directory = self.directory()
        (directory / "folder.yaml").mkdir()
        for name in ("folder.yaml", "missing.yaml"):
            said = run_elemta("check", "--config", directory / name, status=None, directory=directory)
            self.assertIn(name, said)
            run_elemta("check", "--config", directory / name, status=os.EX_CONFIG, directory=directory)

    def test_a_bad_file_keeps_the_server_from_starting(self):
        server = self.unstarted_server({"no_such_key": 1})
        server.launch()
        self.assertEqual(server.wait(), os.EX_CONFIG)
        self.assertLogged(server, "no_such_key")
        server.process = None


class Environment(Case):
    def test_a_variable_overrides_the_file(self):
        server = self.server(
            variables={"ELEMTA_HOSTNAME": "other.example.com", "ELEMTA_LIMITS_MAX_RECIPIENTS": "1",
                       "ELEMTA_LOCAL_DOMAINS": "one.example, two.example"}
        )
        with Client(server.address, "127.0.0.2") as client:
            self.assertReply(client.greeting, "220 other.example.com")
            client.ehlo()
            client.envelope("a@example.org", ["b@two.example"])
            self.assertReply(client.command("RCPT TO:<c@two.example>"), "452 4.5.3")

    def test_an_unknown_variable_is_a_warning(self):
        server = self.server(variables={"ELEMTA_NO_SUCH_KEY": "1", "ELEMTA_PORT_25_TCP_ADDR": "10.0.0.1"})
        self.assertLogged(server, "ELEMTA_NO_SUCH_KEY")

    def test_a_bad_value_is_an_error_that_names_the_variable(self):
        server = self.unstarted_server(variables={"ELEMTA_QUEUE_MAX_WORKERS": "lots"})
        server.launch()
        self.assertEqual(server.wait(), os.EX_CONFIG)
        self.assertLogged(server, "ELEMTA_QUEUE_MAX_WORKERS")
        server.process = None

    def test_the_file_is_found_where_the_variable_says_and_else_in_config(self):
        directory = self.directory()
        (directory / "other.yaml").write_text(yaml(merged(DEFAULTS, {"hostname": "by-variable.example.com"})))
        (directory / "config").mkdir()
        (directory / "config/elemta.toml").write_text('hostname = "by-place.example.com"\n')
        said = run_elemta("check", directory=directory, variables={"ELEMTA_CONFIG": "other.yaml"})
        self.assertIn("by-variable.example.com", said)
        self.assertIn("by-place.example.com", run_elemta("check", directory=directory))
        (directory / "config/elemta.toml").unlink()
        run_elemta("check", directory=directory)  # built-in defaults, and it says so


class Queue(Case):
    """`elemta queue` on a running and on a stopped server."""

    def filled(self):
        sink = self.sink(listening=False)
        server = self.server({"queue": {"retry_schedule": [3600]}, **routes_to(sink)})
        ids = []
        with self.client(server) as client:
            for number in range(3):
                reply = client.message("a@example.org", [f"user{number}@d{number}.example"],
                                       b"Subject: number %d\r\n\r\nbody\r\n" % number)
                ids.append(reply.message_id)
        return server, sink, ids

    def on_both(self, body):
        for state in ("running", "stopped"):
            with self.subTest(state):
                server, sink, ids = self.filled()
                if state == "stopped":
                    server.stop()
                body(server, sink, ids)

    def test_list_names_every_message(self):
        def body(server, sink, ids):
            said = server.run("queue", "list")
            for number, identifier in enumerate(ids):
                self.assertIn(identifier, said)
                self.assertIn(f"user{number}@d{number}.example", said)
            self.assertEqual([message["id"] for message in server.queue()], ids)
            only = server.run("queue", "list", "--domain", "d1.example", "--json")
            self.assertEqual([json.loads(line)["id"] for line in only.splitlines()], [ids[1]])

        self.on_both(body)

    def test_show_tells_all_of_one(self):
        def body(server, sink, ids):
            said = server.run("queue", "show", ids[2])
            for word in (ids[2], "a@example.org", "user2@d2.example", "client.example.org"):
                self.assertIn(word, said)
            raw = server.run("queue", "show", ids[2], "--raw")
            self.assertTrue(raw.replace("\r\n", "\n").endswith("Subject: number 2\n\nbody\n"), raw)

        self.on_both(body)

    def test_delete_removes_without_a_bounce(self):
        def body(server, sink, ids):
            server.run("queue", "delete", ids[0])
            self.assertEqual([message["id"] for message in server.queue()], ids[1:])
            server.run("queue", "delete", "--all")
            self.assertEqual(server.queue(), [])
            self.assertEqual(sink.messages, [])

        self.on_both(body)

    def test_retry_tries_now(self):
        server, sink, ids = self.filled()
        until(lambda: all(message["state"] == "deferred" for message in server.queue()), "three that wait")
        sink.listen()
        server.run("queue", "retry", ids[1])
        # All go to one server: the first that reaches it is the one that was named.
        self.assertEqual(sink.wait_for(3)[0].addresses, ["user1@d1.example"])
        server.until_nothing_waits()

    def test_what_is_not_there_is_an_error(self):
        server, _, ids = self.filled()
        server.run("queue", "delete", ids[0])
        for command in ("show", "delete", "retry"):
            said = server.run("queue", command, ids[0], status=os.EX_NOINPUT)
            self.assertIn("not", said)

    def test_where_no_queue_is_none_is_made(self):
        server = self.unstarted_server()
        server.write_configuration()
        for command in (["list"], ["stats"], ["delete", "--all"]):
            said = server.run("queue", *command, status=os.EX_NOINPUT)
            self.assertIn("there is no queue in queue", said)
            self.assertFalse((server.directory / "queue").exists())

    def test_a_directory_of_somebody_elses_is_left_alone(self):
        server = self.unstarted_server()
        server.write_configuration()
        foreign = server.directory / "queue"
        foreign.mkdir(mode=0o755)
        (foreign / "index.html").write_text("hello")
        server.run("queue", "list", status=os.EX_NOINPUT)
        server.launch()
        self.assertEqual(server.wait(), os.EX_UNAVAILABLE)
        self.assertLogged(server, "index.html")
        server.process = None
        self.assertEqual([file.name for file in foreign.iterdir()], ["index.html"])
        self.assertEqual(foreign.stat().st_mode & 0o777, 0o755)

    def test_without_a_selection_nothing_is_deleted(self):
        server, _, ids = self.filled()
        server.run("queue", "delete", status=os.EX_USAGE)
        self.assertEqual(len(server.queue()), 3)
