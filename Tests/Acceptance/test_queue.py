"""What waits, what it waits for, and what an operator is told about it."""

import errno
import json
import os
import subprocess

from harness import tools
from harness.case import Case, routes_to
from harness.disk import FOR_EVER, Disk
from harness.server import BINARY, environment, merged, run_elemta
from harness.sink import CLOSE, Always
from harness.waiting import until


class Unreachable(Case):
    """A destination that is down, and many messages for it."""

    COUNT = 200

    def filled(self, sink, count=COUNT, configuration=None):
        server = self.server({"queue": {"retry_schedule": [3600]}, **routes_to(sink), **(configuration or {})})
        self.send(server, count)
        return server

    def send(self, server, count, domain="example.com"):
        with self.client(server) as client:
            for _ in range(count):
                self.assertReply(client.message("a@example.org", [f"b@{domain}"], b"Subject: x\r\n\r\n"), "250")

    def test_one_message_finds_out_and_the_others_wait_for_free(self):
        sink = self.sink(faults={"connect": Always(CLOSE)})
        server = self.filled(sink)
        until(lambda: "destination_unreachable" in server.log, "the destination found to be down")
        # Whoever came before that was known may have met a closed connection of its own.
        tried = len(sink.transcripts)
        self.assertLess(tried, 20)
        self.send(server, self.COUNT)
        waiting = server.waiting()
        self.assertEqual(len(waiting), 2 * self.COUNT)
        self.assertEqual({message["state"] for message in waiting}, {"deferred"})
        self.assertTrue(all("took" in m["reason"] or "lost" in m["reason"] for m in waiting), waiting[-1])
        self.assertTrue(all(message["next_attempt"] for message in waiting))
        self.assertEqual(len(sink.transcripts), tried)
        shown = server.run("queue", "show", waiting[-1]["id"])
        self.assertIn("attempts 0", shown)

    def test_one_that_comes_back_drains_at_once(self):
        sink = self.sink(listening=False)
        server = self.filled(sink)
        until(lambda: "destination_unreachable" in server.log, "the destination found to be down")
        sink.listen()
        server.run("queue", "retry", server.queue()[5]["id"])
        sink.wait_for(self.COUNT)
        server.until_nothing_waits()

    def test_probing_goes_on_by_itself(self):
        sink = self.sink(listening=False)
        server = self.filled(sink, configuration={"queue": {"retry_schedule": [1]}})
        until(lambda: server.log.count("destination_unreachable") >= 3, "three probes")
        self.assertLess(server.log.count(" message_deferred "), 20)
        sink.listen()
        sink.wait_for(self.COUNT)
        server.until_nothing_waits()

    def test_after_a_restart_one_probe_comes_first(self):
        sink = self.sink(faults={"connect": Always(CLOSE)})
        server = self.filled(sink)
        until(lambda: "destination_unreachable" in server.log, "the destination found to be down")
        server.stop()
        tried = len(sink.transcripts)
        server.start()
        until(lambda: "destination_unreachable" in server.log, "the destination found to be down again")
        self.assertEqual(len(sink.transcripts), tried + 1)
        sink.faults = {}
        server.run("queue", "retry", "--all")
        sink.wait_for(self.COUNT)
        server.until_nothing_waits()

    def test_others_are_delivered_meanwhile(self):
        down, up = self.sink(listening=False), self.sink()
        server = self.server(
            {
                "delivery": {
                    "routes": [
                        {"domain": "down.example", "deliver": down.route},
                        {"domain": "*", "deliver": up.route},
                    ]
                }
            }
        )
        self.send(server, 50, "down.example")
        self.send(server, 50, "up.example")
        up.wait_for(50)

    def test_a_message_whose_time_ends_while_it_waits_comes_back(self):
        down, up = self.sink(listening=False), self.sink()
        server = self.server(
            {
                "queue": {"retry_schedule": [3600], "max_queue_time": 3},
                "delivery": {
                    "routes": [
                        {"domain": "down.example", "deliver": down.route},
                        {"domain": "*", "deliver": up.route},
                    ]
                },
            }
        )
        self.send(server, 20, "down.example")
        for message in up.wait_for(20):
            self.assertEqual(message.addresses, ["a@example.org"])
            self.assertIn(b"Connection refused", message.content)
        server.until_nothing_waits()


class Why(Case):
    """`elemta queue why`: one message's story, of a running and of a stopped server."""

    def test_the_story_of_a_message_that_waits(self):
        up = self.sink(faults={"rcpt": [b"450 4.2.1 Mailbox is busy\r\n"]})
        down = self.sink(listening=False)
        server = self.server(
            {
                "local_domains": [],
                "queue": {"retry_schedule": [3600]},
                "delivery": {
                    "routes": [
                        {"domain": "busy.example", "deliver": up.route},
                        {"domain": ".example", "deliver": down.route, "tls": "required"},
                    ]
                },
            }
        )
        with self.client(server) as client:
            first = client.message("a@example.org", ["x@down.example"], b"Subject: 1\r\n\r\n").message_id
            until(lambda: "destination_unreachable" in server.log, "the destination found to be down")
            reply = client.message("a@example.org", ["b@busy.example", "c@down.example"], b"Subject: 2\r\n\r\n")
        until(lambda: server.log.count(" message_deferred ") >= 2, "two deferred messages")
        said = server.run("queue", "why", first)
        self.assertIn("attempt 2 of at most 30 at", said)
        story = json.loads(server.run("queue", "why", reply.message_id, "--json"))
        self.assertEqual(story["from"], "<a@example.org>")
        self.assertEqual((story["client"], story["helo"]), ("127.0.0.1", "client.example.org"))
        busy, waits = story["story"]
        self.assertEqual((busy["rule"], waits["rule"]), ("delivery.routes[0]", "delivery.routes[1]"))
        self.assertEqual((busy["tls"], waits["tls"]), ("opportunistic", "required"))
        self.assertIn("attempt 2 of at most 30 at", busy["next"])
        self.assertIsNone(busy["obstacle"])
        self.assertIn("Connection refused", waits["obstacle"])
        self.assertIsNotNone(waits["next_attempt"])
        self.assertEqual([(a["deferred"], "Mailbox is busy" in a["reason"]) for a in story["attempts"]], [(1, True)])
        said = server.run("queue", "why", reply.message_id)
        for words in ("is deferred", "accepted ", "from 127.0.0.1 (client.example.org) by ESMTP",
                      "by delivery.routes[0] (busy.example)", "by delivery.routes[1] (.example)",
                      "one message is sent to find out at", "450 4.2.1 Mailbox is busy", "given up at"):
            self.assertIn(words, said)
        server.run("queue", "hold", reply.message_id)
        server.stop()
        said = server.run("queue", "why", reply.message_id)
        for words in ("is hold", "by delivery.routes[1] (.example)", "nothing until it is released"):
            self.assertIn(words, said)

    def test_a_message_that_failed(self):
        sink = self.sink(faults={"rcpt": [b"550 5.1.1 Nobody here\r\n"]})
        server = self.server(routes_to(sink))
        with self.client(server) as client:
            identifier = client.message("a@example.org", ["b@example.com"], b"\r\n").message_id
        sink.wait_for(1)  # the report
        said = server.run("queue", "why", identifier)
        for words in ("is failed", "550 5.1.1 Nobody here", "the sender has been told; kept until"):
            self.assertIn(words, said)
        self.assertIn("not", server.run("queue", "why", "1hthhhhhhhhhh", status=os.EX_NOINPUT))


class Changes(Case):
    def test_what_was_done_is_said_as_json_too(self):
        sink = self.sink(listening=False)
        server = self.server({"queue": {"retry_schedule": [3600]}, **routes_to(sink)})
        with self.client(server) as client:
            ids = [client.message("a@example.org", ["b@example.com"], b"\r\n").message_id for _ in range(3)]
        for command, arguments, changed in (
            ("hold", ["--all"], 3), ("hold", ["--all"], 0), ("release", [ids[0]], 1), ("delete", ["--all"], 3)
        ):
            said = json.loads(server.run("queue", command, *arguments, "--json"))
            self.assertEqual(said, {"operation": command, "changed": changed, "missing": []})
        server.stop()
        said = server.run("queue", "delete", ids[0], "--json", status=os.EX_NOINPUT)
        self.assertEqual(json.loads(said.splitlines()[-1]), {"operation": "delete", "changed": 0, "missing": [ids[0]]})

    def test_long_work_tells_a_terminal_how_far_it_is(self):
        # Several slices: it is told how far the first one came.
        server = self.server({"queue": {"retry_schedule": [3600]}, **routes_to(self.sink(listening=False))})
        tools.smtp_source(server.address, "-s", 50, "-m", 2_000, "-l", 100, "-d",
                          "-f", "a@example.org", "-t", "b@example.com", seconds=120)
        for state, command in (("running", "hold"), ("stopped", "release")):
            with self.subTest(state):
                if state == "stopped":
                    server.stop()
                terminal, theirs = os.openpty()
                with open(terminal, "rb", buffering=0) as screen:
                    process = subprocess.Popen(
                        [BINARY, "queue", command, "--all", "--config", server.file], cwd=server.directory,
                        stdout=subprocess.PIPE, stderr=theirs, env=environment(),
                    )
                    os.close(theirs)
                    said, _ = process.communicate(timeout=120)
                    shown = b""
                    try:
                        while octets := screen.read(65536):
                            shown += octets
                    except OSError:
                        pass  # the other end is closed
                self.assertEqual(process.returncode, 0)
                self.assertIn(b" 2000\n", said)
                self.assertRegex(shown, rb"\r\x1b\[K\d+ messages looked at, ")
                self.assertTrue(shown.endswith(b"\r\x1b[K"), shown[-80:])


class Compact(Case):
    def test_the_file_becomes_as_small_as_what_is_in_it(self):
        sink = self.sink(listening=False)
        server = self.server({"queue": {"retry_schedule": [3600]}, **routes_to(sink)})
        content = b"Subject: x\r\n\r\n" + b"y" * 30_000 + b"\r\n"
        with self.client(server) as client:
            ids = [client.message("a@example.org", ["b@example.com"], content).message_id for _ in range(200)]
        said = server.run("queue", "compact", status=os.EX_TEMPFAIL)
        self.assertIn("stop the server first", said)
        server.run("queue", "delete", *ids[:180])
        server.stop()
        file = server.directory / "queue/spool.mdb"
        before = file.stat().st_size
        said = json.loads(server.run("queue", "compact", "--json"))
        self.assertEqual(said, {"before": before, "after": file.stat().st_size})
        self.assertLess(said["after"], before / 4)
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertEqual([message["id"] for message in server.queue()], ids[180:])
        sink.listen()
        server.start()
        server.run("queue", "retry", "--all")
        for message in sink.wait_for(20):
            self.assertEqual(message.without_trace(), content)
        server.stop()
        self.assertNotIn("corrupt", server.log)

    def test_a_full_disk_and_a_dead_attempt_leave_the_queue_as_it_was(self):
        directory = self.directory()
        disk = Disk(directory)
        server = self.server(
            {"queue": {"retry_schedule": [3600]}, **routes_to(self.sink(listening=False))}, directory=directory)
        with self.client(server) as client:
            identifier = client.message("a@example.org", ["b@example.com"], b"x" * 5000 + b"\r\n").message_id
        server.stop()
        queue = server.directory / "queue"
        before = (queue / "spool.mdb").read_bytes()
        arguments = ("queue", "compact", "--config", server.file)
        # The first write is that of the lock's holder, who does without.
        for first in (1, 2):
            with self.subTest(first=first):
                disk.fail(["write"], first=first, count=FOR_EVER, error=errno.ENOSPC)
                failed = disk.failed
                said = run_elemta(
                    *arguments, directory=directory, variables=disk.variables, status=os.EX_UNAVAILABLE)
                disk.heal()
                self.assertGreater(disk.failed, failed)
                self.assertIn("no room for the queue", said)
                self.assertFalse((queue / "compact.mdb").exists())
                self.assertEqual((queue / "spool.mdb").read_bytes(), before)
                self.assertEqual([message["id"] for message in server.queue()], [identifier])
        # What a dead attempt has left is in nobody's way.
        (queue / "compact.mdb").write_bytes(b"half a copy")
        self.assertIn("spool.mdb had", server.run("queue", "compact"))
        self.assertFalse((queue / "compact.mdb").exists())
        self.assertEqual([message["id"] for message in server.queue()], [identifier])


class Explain(Case):
    CONFIGURATION = {
        "hostname": "mail.example.com",
        "local_domains": ["example.com"],
        "allowed_relays": ["10.0.0.0/8"],
        "max_message_size": 5000,
        "delivery": {
            "relay_host": "smarthost.example.net:587",
            "routes": [{"domain": "example.com", "deliver": "smtp://127.0.0.1:2600", "tls": "off"}],
        },
    }

    def explain(self, sender, recipient, client, *more, configuration=None):
        server = self.unstarted_server(merged(self.CONFIGURATION, configuration or {}))
        server.write_configuration()
        said = server.run("explain", "--from", sender, "--to", recipient, "--ip", client, "--json", *more)
        answer = json.loads(said)
        answer["keys"] = {step["key"]: step for step in answer["steps"]}
        return answer, server

    def test_who_may_send_where(self):
        for client, recipient, accepted in (
            ("192.0.2.1", "b@example.com", True), ("192.0.2.1", "b@elsewhere.example", False),
            ("10.1.2.3", "b@elsewhere.example", True), ("::ffff:10.1.2.3", "b@elsewhere.example", True),
            ("192.0.2.1", "postmaster", True),
        ):
            with self.subTest((client, recipient)):
                answer, _ = self.explain("a@example.org", recipient, client)
                self.assertEqual(answer["accepted"], accepted, answer)
                if not accepted:
                    self.assertIn("554 5.7.1 Relaying denied", answer["verdict"])

    def test_each_step_names_the_key_and_the_line_that_says_so(self):
        answer, server = self.explain("a@example.org", "b@example.com", "10.1.2.3")
        self.assertIn("smtp+off:[127.0.0.1]:2600", answer["verdict"])
        lines = server.file.read_text().splitlines()
        for key, word in (("local_domains", "local_domains"), ("delivery.routes[0]", "domain"),
                          ("delivery.routes[0].tls", "tls"), ("allowed_relays", "allowed_relays"),
                          ("max_message_size", "max_message_size")):
            origin = answer["keys"][key]["origin"]
            path, _, line = origin.rpartition(":")
            self.assertEqual(path, str(server.file), key)
            self.assertIn(word, "\n".join(lines[int(line) - 2 : int(line)]), key)
        self.assertEqual(answer["keys"]["queue.max_retries"]["origin"], "default")
        answer, _ = self.explain("<>", "b@elsewhere.example", "10.1.2.3")
        self.assertIn("delivery.relay_host", answer["keys"])
        self.assertIn("delivery.relay_tls", answer["keys"])

    def test_a_half_filled_section_speaks_for_what_it_says_and_nothing_else(self):
        answer, server = self.explain(
            "a@example.org", "b@elsewhere.example", "10.1.2.3", configuration={"queue": {"max_retries": 7}})
        lines = server.file.read_text().splitlines()

        def line(key):
            path, _, number = answer["keys"][key]["origin"].rpartition(":")
            self.assertEqual(path, str(server.file), key)
            return lines[int(number) - 1]

        self.assertIn("max_retries: 7", line("queue.max_retries"))
        self.assertIn("listen_addr", line("listen_addr"))
        for key in ("queue.retry_schedule", "queue.max_queue_time", "delivery.relay_tls", "auth.required",
                    "limits.max_recipients"):
            self.assertEqual(answer["keys"][key]["origin"], "default", key)

    def test_what_is_refused_says_why(self):
        answer, _ = self.explain("a@example.org", "b@example.com", "10.1.2.3", "--size", "5001")
        self.assertIn("552 5.3.4", answer["verdict"])
        answer, _ = self.explain("a@example.org", "b@example.com", "10.1.2.3", "--size", "5000")
        self.assertTrue(answer["accepted"])

    def test_it_says_what_the_server_then_does(self):
        sink = self.sink()
        server = self.server({"local_domains": ["example.com"], "allowed_relays": ["127.0.0.1"], **routes_to(sink)})
        for source in ("127.0.0.1", "127.0.0.2"):
            for recipient in ("b@example.com", "b@elsewhere.example"):
                with self.subTest((source, recipient)):
                    said = json.loads(server.run(
                        "explain", "--from", "a@example.org", "--to", recipient, "--ip", source, "--json"))
                    with self.client(server, source) as client:
                        client.command("MAIL FROM:<a@example.org>")
                        reply = client.command(f"RCPT TO:<{recipient}>")
                    self.assertEqual(said["accepted"], reply.code == 250)
                    if not said["accepted"]:
                        self.assertIn(reply.lines[-1], said["verdict"])

    def test_people_can_read_it(self):
        server = self.unstarted_server(self.CONFIGURATION)
        server.write_configuration()
        said = server.run("explain", "--from", "a@example.org", "--to", "b@example.com", "--ip", "192.0.2.1")
        self.assertIn("accepted, and delivered to smtp+off:[127.0.0.1]:2600", said)
        self.assertIn(f"local_domains, {server.file}:", said)
        self.assertIn("--ip", server.run("explain", "--from", "a@example.org", "--to", "b@x", status=os.EX_USAGE))
