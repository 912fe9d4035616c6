"""What those learn who look after the server: /metrics, /healthz, /readyz."""

import json
import os
import re
import resource
import signal
import socket

from harness.case import STRANGER, Case, routes_to
from harness.client import Client
from harness.metrics import get, promtool, received, request, scrape
from harness.server import ROOT, merged
from harness.sink import Always
from harness.users import auth_plain, sha512crypt, user_list
from harness.waiting import PATIENCE, until

HTTP = {"http": {"listen_addr": "127.0.0.1:0"}}


class MetricsCase(Case):
    def monitored(self, configuration=None, **options):
        return self.server(merged(HTTP, configuration or {}), **options)

    def until_metric(self, server, name, value, **labels):
        """A scrape in which the sum of these samples is `value`."""

        def found():
            metrics = scrape(server)
            return metrics if metrics.sum(name, **labels) == value else None

        return until(found, f"{name} {labels} of {value}")


class Format(MetricsCase):
    def test_promtool_has_no_complaint(self):
        server = self.monitored()
        client = self.client(server)
        self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        _, text = get(server.http_address, "/metrics")
        self.assertEqual(promtool("check", "metrics", input=text.encode()).strip(), "")

    def test_docs_metrics_md_is_the_output(self):
        metrics = scrape(self.monitored({"auth": self.users()}))
        rows = re.findall(
            r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", (ROOT / "docs/metrics.md").read_text(), re.M
        )
        documented = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels, _ in rows}
        help_lines = dict(re.findall(r"^# HELP (\S+) (.*)$", metrics.text, re.M))
        self.assertEqual({name: kind for name, (kind, _) in documented.items()}, metrics.types)
        self.assertEqual({name: text for name, _, _, text in rows}, help_lines)
        for name, (_, labels) in documented.items():
            if name != "elemta_replies_total":
                self.assertEqual(set(labels), metrics.labels(name), name)

    def test_every_pool_that_something_can_wait_for_has_a_backlog(self):
        maildir = f"maildir://{self.directory()}/{{local}}"
        server = self.monitored({
            "auth": self.users(), "local_domains": ["example.com"],
            "recipients": [{"domain": "example.com", "file": str(self.addresses())}],
            "delivery": {"routes": [{"domain": "example.com", "deliver": maildir}]},
        })
        idle = lambda: re.findall(r'^elemta_backlog\{pool="(\w+)"\} 0$', scrape(server).text, re.M)
        # Lines of the log wait for each other.
        pools = ["content", "credentials", "files", "log", "maildirs", "recipients", "spool"]
        until(lambda: sorted(idle()) == pools, f"nothing waits for {pools}")

    def addresses(self):
        path = self.directory() / "addresses"
        path.write_text("jane@example.com\n")
        return path

    def users(self):
        path = self.directory() / "users.json"
        path.write_text(user_list({"jane": sha512crypt("secret")}))
        path.chmod(0o600)
        return {"enabled": True, "file_path": str(path)}


class Counters(MetricsCase):
    def test_mail_that_is_sent_rejected_deferred_and_bounced_is_counted(self):
        sink = self.sink(
            faults={"rcpt": lambda argument: b"550 5.1.1 Nobody\r\n" if b"nobody" in argument else None}
        )
        server = self.monitored(routes_to(sink) | {"max_message_size": 4096, "listen_addr": "127.0.0.1:0"})
        client = self.client(server)
        content = b"Subject: x\r\n\r\nhello\r\n"
        self.assertReply(client.message("", ["b@example.com"], content), "250")
        self.assertReply(client.message("a@example.org", ["nobody@example.com"], content), "250")
        client.envelope("a@example.org", ["b@example.com"])
        self.assertReply(client.data(b"x" * 70 + b"\r\n" + b"y\r\n" * 2000), "552")
        self.assertReply(client.command("NONSENSE"), "500")
        with Client(server.address, STRANGER) as stranger:
            stranger.ehlo()
            stranger.command("MAIL FROM:<a@example.org>")
            self.assertReply(stranger.command("RCPT TO:<b@example.net>"), "554 5.7.1")
            stranger.command("QUIT")
        metrics = self.until_metric(server, "elemta_deliveries_total", 1, outcome="failed")
        self.assertEqual(metrics.sum("elemta_accepted_messages_total"), 2)
        self.assertGreaterEqual(metrics.sum("elemta_accepted_bytes_total"), 2 * len(content))
        self.assertEqual(metrics.value("elemta_rejected_messages_total", reason="too_large"), 1)
        self.assertGreater(metrics.value("elemta_rejected_bytes_total", reason="too_large"), 6000)
        self.assertEqual(metrics.value("elemta_rejected_recipients_total", reason="relaying"), 1)
        self.assertEqual(metrics.value("elemta_commands_total", command="MAIL"), 4)
        self.assertEqual(metrics.value("elemta_commands_total", command="OTHER"), 1)
        self.assertEqual(metrics.value("elemta_replies_total", code="552"), 1)
        self.assertEqual(metrics.value("elemta_replies_total", code="354"), 3)
        self.assertEqual(metrics.sum("elemta_connections_total", outcome="accepted"), 2)
        self.assertEqual(metrics.sum("elemta_connections"), 1)
        self.until_metric(server, "elemta_deliveries_total", 2, outcome="delivered")
        metrics = self.until_metric(server, "elemta_reports_total", 1)
        self.assertEqual(metrics.value("elemta_failed_recipients_total"), 1)
        self.assertGreaterEqual(metrics.value("elemta_commit_messages_count"), 2)
        self.assertGreater(metrics.value("elemta_commit_duration_seconds_sum"), 0)
        self.assertGreater(metrics.value("process_resident_memory_bytes"), 1 << 20)
        descriptors = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        self.assertLess(abs(metrics.value("process_open_fds") - descriptors), 5)

    def test_recipients_that_get_one_answer_together_are_counted_one_by_one(self):
        closed = socket.socket()
        self.addCleanup(closed.close)
        closed.bind(("127.0.0.1", 0))
        host, port = closed.getsockname()
        routes = [
            {"domain": "example.com", "deliver": "discard"},
            {"domain": "*", "deliver": f"smtp://{host}:{port}"},
        ]
        server = self.monitored({"delivery": {"routes": routes}})
        client = self.client(server)
        mailboxes = lambda domain, count: [f"{number}@{domain}" for number in range(count)]
        for recipients in mailboxes("example.com", 1), mailboxes("example.com", 4), mailboxes("example.net", 3):
            self.assertReply(client.message("a@example.org", recipients, b"x\r\n"), "250")
        both = mailboxes("example.com", 2) + mailboxes("example.org", 2)
        self.assertReply(client.message("a@example.org", both, b"x\r\n"), "250")
        self.until_metric(server, "elemta_deliveries_total", 1 + 4 + 2, outcome="delivered")
        counts = lambda event: [int(n) for n in re.findall(rf" {event} .* recipients=(\d+)", server.log)]
        until(lambda: sorted(counts("message_delivered")) == [1, 2, 4], "a line for each message")
        # How often the next hop that is down is tried depends on which message comes first.
        until(lambda: 3 in counts("delivery_deferred"), "a line for the three")
        deferred = lambda: scrape(server).sum("elemta_deliveries_total", outcome="deferred")
        until(lambda: deferred() == sum(counts("delivery_deferred")), "as many as the log's lines add up to")

    def test_the_queue_by_state_and_age(self):
        sink = self.sink(faults={"rcpt": Always(b"450 4.2.0 Later\r\n")})
        server = self.monitored(routes_to(sink))
        client = self.client(server)
        ids = [
            client.message("a@example.org", ["b@example.com"], b"x\r\n").message_id for _ in range(3)
        ]
        metrics = self.until_metric(server, "elemta_queue_messages", 3, state="deferred")
        self.assertEqual(metrics.value("elemta_queue_age_seconds_bucket", state="deferred", le="60"), 3)
        self.assertEqual(metrics.value("elemta_queue_age_seconds_count", state="deferred"), 3)
        server.run("queue", "hold", ids[0])
        metrics = self.until_metric(server, "elemta_queue_messages", 1, state="hold")
        self.assertEqual(metrics.value("elemta_queue_messages", state="deferred"), 2)
        server.run("queue", "delete", ids[1])
        self.until_metric(server, "elemta_queue_messages", 1, state="deferred")
        client.close()
        server.stop()
        server.start()
        metrics = self.until_metric(server, "elemta_queue_messages", 2)
        self.assertEqual(metrics.value("elemta_queue_messages", state="hold"), 1)
        self.assertEqual(metrics.value("elemta_queue_messages", state="deferred"), 1)

    def test_logins(self):
        users = Format.users(self)
        server = self.monitored({"auth": users})
        client = self.client(server)
        self.assertReply(client.command(auth_plain("jane", "wrong")), "535")
        self.assertReply(client.command(auth_plain("jane", "secret", acting_for="bob")), "535")
        self.assertReply(client.command(auth_plain("jane", "secret")), "235")
        metrics = scrape(server)
        self.assertEqual(metrics.value("elemta_authentications_total", result="accepted"), 1)
        self.assertEqual(metrics.value("elemta_authentications_total", result="rejected"), 2)

    def test_connections_that_are_refused(self):
        server = self.monitored({"limits": {"max_connections": 1}})
        client = self.client(server)
        with Client(server.address) as second:
            self.assertReply(second.greeting, "421")
        metrics = scrape(server)
        self.assertEqual(metrics.sum("elemta_connections_total", outcome="too_many"), 1)
        self.assertEqual(metrics.value("elemta_connections_limit"), 1)
        client.close()
        self.until_metric(server, "elemta_connections", 0)


    def test_connections_that_no_descriptor_is_left_for(self):
        server = self.monitored()
        pid = server.process.pid
        open_now = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        free = next(number for number in range(len(open_now) + 1) if number not in open_now)
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
        for _ in range(3):
            with Client(server.address) as client:
                self.assertReply(client.greeting, "421 4.3.2")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        self.assertEqual(scrape(server).sum("elemta_connections_total", outcome="failed"), 3)
        self.assertLogged(server, ' connection_failed client=127.0.0.1 error="no descriptor is left"')


class Health(MetricsCase):
    def test_paths_and_methods(self):
        address = self.monitored().http_address
        self.assertEqual(get(address, "/healthz"), (200, "ok\n"))
        self.assertEqual(get(address, "/readyz"), (200, "ok\n"))
        self.assertEqual(get(address, "/healthz", method="HEAD"), (200, ""))
        self.assertEqual(get(address, "/metrics?x=y")[0], 200)
        self.assertEqual(get(address, "/else")[0], 404)
        self.assertEqual(get(address, "/metrics/")[0], 404)
        for method in "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE":
            self.assertEqual(get(address, "/metrics", method=method)[0], 405, method)
        self.assertEqual(get(address, "/metrics", "Content-Length: 3", method="BREW")[0], 501)

    def test_readiness_ends_with_sigterm_and_the_endpoint_stays(self):
        server = self.monitored()
        client = self.client(server)
        client.command("MAIL FROM:<a@example.org>")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: get(server.http_address, "/readyz")[0] == 503, "503 at /readyz")
        self.assertEqual(get(server.http_address, "/readyz")[1], "draining\n")
        self.assertEqual(get(server.http_address, "/healthz")[0], 200)
        self.assertEqual(scrape(server).value("elemta_ready"), 0)
        self.assertReply(client.command("RCPT TO:<b@example.com>"), "250")
        self.assertReply(client.data(b"x\r\n"), "250")
        self.assertEqual(server.wait(), 0)

    def test_too_little_room_for_the_queue_is_not_ready(self):
        server = self.monitored({"queue": {"min_free": 1 << 49}})
        client = self.client(server)
        until(lambda: client.command("MAIL FROM:<a@example.org>").code == 452, "452 to MAIL")
        until(lambda: get(server.http_address, "/readyz")[0] == 503, "503 at /readyz")
        self.assertEqual(get(server.http_address, "/healthz")[0], 200)
        self.assertIn("too little room", server.run("health", "--ready", status=1))
        self.assertEqual(server.run("health"), "ok\n")


class Token(MetricsCase):
    def test_metrics_want_the_token_and_health_does_not(self):
        directory = self.directory()
        token = directory / "token"
        token.write_text("s3cret\n")
        server = self.monitored({"http": {"token_file": str(token)}}, directory=directory)
        address = server.http_address
        status = lambda *fields: get(address, "/metrics", *fields)[0]
        self.assertEqual(status(), 401)
        for wrong in "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cretx", "Basic s3cret", "Bearer x3cret":
            self.assertEqual(status(f"Authorization: {wrong}"), 401, wrong)
        self.assertEqual(status("Authorization: Bearer s3cret"), 200)
        self.assertEqual(status("authorization: bearer s3cret"), 200)
        self.assertEqual(get(address, "/healthz")[0], 200)
        self.assertEqual(get(address, "/readyz")[0], 200)
        token.write_text("another")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: status("Authorization: Bearer another") == 200, "the new token to be right")
        self.assertEqual(status("Authorization: Bearer s3cret"), 401)
        token.unlink()
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "configuration_refused" in server.log, "a complaint")
        self.assertEqual(status("Authorization: Bearer another"), 200)
        self.assertNotIn("s3cret", server.log)

    def test_a_token_that_cannot_be_read_ends_the_start(self):
        server = self.unstarted_server(merged(HTTP, {"http": {"token_file": "/nowhere/token"}}))
        server.launch()
        self.assertEqual(server.wait(), 78)
        self.assertLogged(server, "http.token_file: /nowhere/token")
        server.process = None

    def test_open_metrics_are_warned_of(self):
        server = self.server({"http": {"listen_addr": "0.0.0.0:0"}})
        self.assertLogged(server, "metrics_exposed")
        self.assertIn("set http.token_file", server.run("check"))
        self.assertNotIn("metrics_exposed", self.monitored().log)

    def test_a_port_in_use_is_named(self):
        first = self.monitored()
        taken = "%s:%d" % first.http_address
        second = self.unstarted_server({"http": {"listen_addr": taken}})
        second.launch()
        self.assertEqual(second.wait(), 71)
        self.assertLogged(second, f"cannot listen on {taken} (http.listen_addr)")
        self.assertLogged(second, f"process {first.process.pid} (elemta) listens there")
        second.process = None


class Hostility(MetricsCase):
    """Nobody who reaches the port takes more than his share, and mail goes on."""

    def setUp(self):
        super().setUp()
        self.tested = self.monitored()
        self.http = self.tested.http_address
        self.calm = len(os.listdir(f"/proc/{self.tested.process.pid}/fd"))

    def tearDown(self):
        client = self.client(self.tested)
        self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        client.close()
        until(lambda: self.descriptors() <= self.calm + 2, "all descriptors given back", 30)
        super().tearDown()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.tested.process.pid}/fd"))

    def test_a_huge_header_is_refused(self):
        for head in b"GET /" + b"x" * 100_000, b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000:
            self.assertNotIn(b" 200 ", request(self.http, head)[:20])
        many = b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n"
        self.assertNotIn(b" 200 ", request(self.http, many)[:20])

    def test_a_body_without_end_is_cut_off(self):
        before = self.tested.resident_octets()
        for field in b"Content-Length: 100000000000", b"Transfer-Encoding: chunked":
            with socket.create_connection(self.http, 20 * PATIENCE) as connection:
                connection.sendall(b"POST /metrics HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n\r\n")
                piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
                with self.assertRaises(OSError):
                    for _ in range(100_000):
                        connection.sendall(piece)
        self.assertLess(self.tested.resident_octets() - before, 16 << 20)

    def test_octets_behind_a_request_stay_unread(self):
        before = self.tested.resident_octets()
        with socket.create_connection(self.http, 20 * PATIENCE) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            with self.assertRaises(OSError):
                for _ in range(100_000):
                    connection.sendall(b"x" * 65536)
        self.assertLess(self.tested.resident_octets() - before, 16 << 20)

    def test_nonsense_is_answered_or_closed(self):
        nonsense = (
            b"\0" * 100 + b"\r\n\r\n",
            b"\r\n\r\n\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /healthz\r\n\r\n",
            b"GET /healthz HTTP/9.9\r\n\r\n",
            b"GET http://[::1 HTTP/1.1\r\n\r\n",
            b"GET //%zz/%00 HTTP/1.1\r\nHost: \xff\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
            b"CONNECT /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xee" * 500,
        )
        connections = []
        for octets in nonsense:
            connections.append(socket.create_connection(self.http, 20 * PATIENCE))
            connections[-1].sendall(octets)
            self.assertEqual(get(self.http, "/healthz")[0], 200, octets)
        for connection in connections:
            # What isn't answered is cut off in the end.
            received(connection)
            connection.close()

    def test_half_a_request_is_cut_off(self):
        with socket.create_connection(self.http, 30 * PATIENCE) as connection:
            connection.sendall(b"GET /metrics HT")
            self.assertEqual(received(connection), b"")

    def test_a_request_in_single_octets_is_answered(self):
        with socket.create_connection(self.http, 20 * PATIENCE) as connection:
            for octet in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":
                connection.sendall(bytes((octet,)))
            self.assertIn(b" 200 OK", received(connection))

    def test_a_thousand_connections_that_say_nothing(self):
        """No more of them are taken than may be, and who comes behind them is served."""
        silent = [socket.create_connection(self.http, 30) for _ in range(1000)]
        try:
            self.assertLess(self.descriptors(), self.calm + 40)
            client = self.client(self.tested)
            self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
            client.close()
            with socket.create_connection(self.http, 90 * PATIENCE) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertIn(b" 200 OK", received(connection))
        finally:
            for connection in silent:
                connection.close()


class Status(MetricsCase):
    def test_status_for_people_and_programs(self):
        server = self.monitored()
        client = self.client(server)
        text = server.run("status")
        for word in "serving", "connections  1 of ", "127.0.0.1:%d" % server.port, "descriptors":
            self.assertIn(word, text)
        status = json.loads(server.run("status", "--json"))
        self.assertEqual(status["pid"], server.process.pid)
        self.assertEqual(status["connections"], 1)
        self.assertEqual(status["http"], ["%s:%d" % server.http_address])
        self.assertTrue(status["ready"])
        self.assertEqual(server.run("health", "--ready"), "ok\n")
        client.command("MAIL FROM:<a@example.org>")
        server.process.send_signal(signal.SIGTERM)
        until(lambda: get(server.http_address, "/readyz")[0] == 503, "draining")
        self.assertIn("accepts no mail: draining", server.run("status"))
        self.assertEqual(server.run("health"), "ok\n")
        self.assertIn("draining", server.run("health", "--ready", status=1))
        client.close()
        self.assertEqual(server.wait(), 0)
        self.assertIn("no server is running", server.run("status", status=69))
        self.assertIn("no server is running", server.run("health", status=1))

    def test_dev_mode_has_both(self):
        server = self.monitored({"dev_mode": True})
        client = self.client(server)
        self.assertReply(client.message("a@example.org", ["b@example.com"], b"x\r\n"), "250")
        self.assertEqual(scrape(server).sum("elemta_queue_messages"), 1)
        self.assertTrue(json.loads(server.run("status", "--json"))["dev_mode"])

    def test_a_server_that_hangs_is_not_well(self):
        server = self.monitored()
        server.process.send_signal(signal.SIGSTOP)
        try:
            self.assertIn("doesn't answer", server.run("health", status=1))
        finally:
            server.process.send_signal(signal.SIGCONT)


class Dashboards(MetricsCase):
    NAME = re.compile(r"\b(?:elemta|process)_[a-z_]+")

    def test_every_metric_that_the_dashboard_and_the_alerts_name_exists(self):
        metrics = scrape(self.monitored())
        known = set(metrics.types)
        for family, kind in metrics.types.items():
            if kind == "histogram":
                known |= {f"{family}_bucket", f"{family}_sum", f"{family}_count"}
        dashboard = json.loads((ROOT / "config/grafana-dashboard.json").read_text())
        expressions = [
            target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
        ]
        self.assertGreater(len(expressions), 20)
        alerts = (ROOT / "config/alerts.yml").read_text()
        expressions += re.findall(r"expr: (.*)", alerts)
        for expression in expressions:
            if expression.startswith("up{"):
                continue
            names = set(self.NAME.findall(expression))
            self.assertTrue(names and names <= known, expression)

    def test_promtool_takes_the_configuration_and_the_rules(self):
        promtool("check", "rules", ROOT / "config/alerts.yml")
        promtool("test", "rules", ROOT / "config/alerts.test.yml")
        promtool("check", "config", "--syntax-only", ROOT / "config/prometheus.yml")

    def test_each_alert_is_tested_and_scraped_by_the_name_that_it_wants(self):
        text = {name: (ROOT / "config" / name).read_text() for name in ("alerts.yml", "alerts.test.yml", "prometheus.yml")}
        alerts = set(re.findall(r"- alert: (\w+)", text["alerts.yml"]))
        fired = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", text["alerts.test.yml"]))
        self.assertEqual(alerts, fired)
        self.assertIn("ElemtaDown", alerts)
        jobs = set(re.findall(r'job="(\w+)"', text["alerts.yml"]))
        self.assertEqual(jobs, set(re.findall(r"job_name: (\w+)", text["prometheus.yml"])))
