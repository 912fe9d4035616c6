"""TLS and AUTH towards the next hop: policies, REQUIRETLS, the relay host's password."""

import re

from harness.case import Case, WithCertificates, unique, with_tls
from harness.certificates import Authority
from harness.nameserver import NameServer
from harness.server import merged, run_elemta
from harness.sink import CLOSE, EVERYTHING, GARBAGE, SILENCE, Always
from harness.users import auth_plain, sha512crypt, user_list
from harness.waiting import until

SOON = {"retry_schedule": [1]}
INSIDE = (*EVERYTHING, "REQUIRETLS")


class TLSCase(WithCertificates, Case):
    """Servers of these tests trust `authority`, which signed `pair` for 127.0.0.1."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # What no policy that looks at certificates takes, by what is wrong with it.
        cls.untrustworthy = {
            "mismatch": cls.authority.pair("other", ("other.example",), ()),
            "expired": cls.authority.pair("late", expired=True),
            "certificate": Authority(cls.authority.folder / "stranger").pair(),
        }

    def hop(self, pair=None, extensions=EVERYTHING, inside=None, **options):
        context = (pair or self.pair).server_context
        return self.sink(extensions, tls=context, inside=inside, **options)

    def sender(self, delivery, **configuration):
        """A server that has TLS itself, so that it can be told REQUIRETLS."""
        changes = merged(with_tls(self.pair), {"queue": SOON, "delivery": delivery, **configuration})
        return self.server(changes, variables={"SSL_CERT_FILE": str(self.authority.file)})

    def to(self, sink, tls, others=()):
        """All mail to one route, but that of the domains that have a route of their own."""
        routes = [{"domain": domain, "deliver": other.route} for domain, other in others]
        return {"routes": [*routes, {"domain": "*", "deliver": sink.route, "tls": tls}]}

    def submit(self, server, content=b"Subject: x\r\n\r\nbody\r\n", parameters="", sender="a@example.org",
               recipients=("b@example.com",), via="DATA"):
        with self.client(server) as client:
            if "REQUIRETLS" in parameters:
                self.secured(client)
            self.assertReply(client.message(sender, recipients, content, parameters, via), "250 2.0.0")

    def logged(self, server, event, count=1):
        """The fields of the last line with that event, once there are so many."""
        lines = until(
            lambda: found if len(found := re.findall(rf" {event} (.*)", server.log)) >= count else None,
            f"{count} lines {event}",
            20,
        )
        return lines[-1]

    def assertNothingSent(self, sink):
        self.assertEqual(sink.messages, [])
        self.assertFalse([command for command in sink.commands if command.startswith(b"MAIL")])


class Policies(TLSCase):
    def test_tls_is_used_where_it_is_offered_whoever_the_server_is(self):
        for problem, pair in {"": self.pair, **self.untrustworthy}.items():
            with self.subTest(problem):
                sink = self.hop(pair)
                server = self.sender(self.to(sink, "opportunistic"))
                self.submit(server)
                self.assertEqual(sink.wait_for(1)[0].tls, "TLSv1.3")
                line = self.logged(server, "message_delivered")
                self.assertRegex(line, r"cipher=TLS_\w+ ")
                self.assertIn(" tls=TLSv1.3 ", line)
                self.assertRegex(line, f'tls_problem="[^"]*{problem}.* verified=no' if problem else " verified=certificate")

    def test_an_operator_is_told_how_each_attempt_was_protected(self):
        refusal = Always(b"451 4.2.2 full\r\n")
        for words, sink, tls in (
            (r"TLSv1\.3 TLS_\w+, certificate verified", self.hop(faults={"rcpt": refusal}), "required"),
            (r"TLSv1\.3 TLS_\w+, certificate not verified: .*mismatch",
             self.hop(self.untrustworthy["mismatch"], faults={"rcpt": refusal}), "opportunistic"),
            (r"in clear", self.sink(faults={"rcpt": refusal}), "opportunistic"),
        ):
            with self.subTest(words):
                server = self.sender(self.to(sink, tls), queue={"retry_schedule": [3600]})
                self.submit(server)
                self.logged(server, "message_deferred")
                (message,) = server.queue()
                self.assertRegex(server.run("queue", "why", message["id"]), rf"full\n +{words}")

    def test_required_means_a_certificate_that_shows_who_the_server_is(self):
        sink = self.hop()
        server = self.sender(self.to(sink, "required"))
        self.submit(server)
        self.assertEqual(sink.wait_for(1)[0].tls, "TLSv1.3")
        self.assertIn(" verified=certificate", self.logged(server, "message_delivered"))

    def test_mail_that_requires_tls_waits_until_the_server_is_mended(self):
        for problem, pair in self.untrustworthy.items():
            with self.subTest(problem):
                sink = self.hop(pair)
                server = self.sender(self.to(sink, "required"))
                self.submit(server)
                line = self.logged(server, "delivery_deferred")
                self.assertRegex(line, rf'text="The TLS handshake with \[127.0.0.1\]:{sink.port} failed: .*{problem}')
                self.logged(server, "message_deferred")
                self.assertIn("4.7.5", server.queue()[0]["reason"])
                self.assertNothingSent(sink)
                sink.tls = self.pair.server_context
                self.assertEqual(sink.wait_for(1)[0].tls, "TLSv1.3")

    def test_mail_that_requires_tls_is_never_sent_in_clear(self):
        sink = self.sink()
        server = self.sender({"relay_host": f"[127.0.0.1]:{sink.port}", "relay_tls": "required", "routes": None},
                             local_domains=[])
        self.submit(server)
        self.assertIn("does not offer TLS (STARTTLS)", self.logged(server, "delivery_deferred", 2))
        self.assertIn("4.7.4", server.queue()[0]["reason"])
        self.assertNothingSent(sink)

    def test_off_means_off(self):
        sink = self.hop()
        server = self.sender(self.to(sink, "off"))
        self.submit(server)
        self.assertEqual(sink.wait_for(1)[0].tls, "")
        self.assertNotIn(b"STARTTLS", sink.commands)
        self.assertIn(" tls=none", self.logged(server, "message_delivered"))

    def test_a_connection_is_kept_inside_tls(self):
        sink = self.hop()
        server = self.sender(self.to(sink, "required"))
        for number in range(1, 6):
            self.submit(server)
            sink.wait_for(number)
        self.assertEqual(len(sink.transcripts), 1)
        self.assertEqual(sink.commands.count(b"STARTTLS"), 1)

    def test_content_of_any_size_arrives_as_it_was(self):
        line = b".%s\r\n" % (b"x" * 75)
        for inside in (EVERYTHING, ("8BITMIME",)):
            with self.subTest(inside):
                sink = self.hop(inside=inside)
                server = self.sender(self.to(sink, "required"))
                contents = [b"Subject: %d\r\n\r\n" % size + line * size for size in (1, 500, 60_000)]
                for content in contents:
                    self.submit(server, content)
                arrived = {message.without_trace() for message in sink.wait_for(3)}
                self.assertEqual(arrived, set(contents))


class Hostility(TLSCase):
    BROKEN = {
        "refused": {"starttls": Always(b"454 4.7.0 Not now\r\n")},
        "garbage instead of a handshake": {"handshake": Always(b"500 5.5.1 What is that?\r\n")},
        "closed instead of a handshake": {"handshake": Always(CLOSE)},
        "closed instead of an answer": {"starttls": Always(CLOSE)},
        "nonsense instead of an answer": {"starttls": Always(GARBAGE)},
    }

    def test_opportunistic_mail_goes_in_clear_over_a_connection_of_its_own(self):
        for name, faults in self.BROKEN.items():
            with self.subTest(name):
                sink = self.hop(faults=faults)
                server = self.sender({"messages_per_connection": 1, **self.to(sink, "opportunistic")})
                for number in (1, 2):
                    self.submit(server)
                    self.assertEqual(sink.wait_for(number)[-1].tls, "")
                self.assertRegex(self.logged(server, "message_delivered", 2), r' tls=none tls_failure=".+"')
                # That TLS fails there is remembered.
                self.assertEqual([t.commands.count(b"STARTTLS") for t in sink.transcripts], [1, 0, 0])
                self.assertLessEqual(set(sink.transcripts[0].commands[1:]), {b"STARTTLS", b"QUIT"})

    def test_mail_that_requires_tls_waits(self):
        for name, faults in self.BROKEN.items():
            with self.subTest(name):
                sink = self.hop(faults=faults)
                server = self.sender(self.to(sink, "required"))
                self.submit(server)
                self.assertRegex(self.logged(server, "delivery_deferred"), "TLS")
                # The queue knows once the result is committed.
                self.logged(server, "message_deferred")
                self.assertRegex(server.queue()[0]["reason"], r"4\.7\.[45]")
                self.assertNothingSent(sink)

    def test_a_stalled_handshake_holds_nobody_else_up(self):
        stalled, other = self.hop(faults={"handshake": Always(SILENCE)}), self.hop()
        server = self.sender(self.to(stalled, "opportunistic", [("other.example", other)]), queue={"max_workers": 1})
        for domain in ["stalled.example"] * 20 + ["other.example"]:
            self.submit(server, recipients=[f"b@{domain}"])
        self.assertEqual(other.wait_for(1)[0].tls, "TLSv1.3")
        self.assertEqual(stalled.messages, [])

    def test_octets_in_clear_in_front_of_the_handshake_are_taken_for_nothing(self):
        injection = b"220 2.0.0 Go on\r\n250-sink.example.net\r\n250 AUTH PLAIN LOGIN\r\n"
        for tls in ("opportunistic", "required"):
            with self.subTest(tls):
                sink = self.hop(faults={"starttls": Always(injection)})
                server = self.sender(self.to(sink, tls))
                self.submit(server)
                self.assertIn("sent octets in clear before the TLS handshake",
                              self.logged(server, "delivery_deferred"))
                self.assertNothingSent(sink)


class RequireTLS(TLSCase):
    def bounce(self, sink, tls="opportunistic", parameters=" REQUIRETLS", content=None):
        """The report that comes back to the sender's domain, and its next hop."""
        back = self.hop(inside=INSIDE)
        server = self.sender(self.to(sink, tls, [("example.org", back)]))
        self.submit(server, content or b"Subject: x\r\n\r\nbody\r\n", parameters)
        report = back.wait_for(1)[0]
        self.assertEqual((report.sender, report.addresses), (b"", ["a@example.org"]))
        self.assertIn(b"Status: 5.7.30\r\n", report.content)
        self.assertNothingSent(sink)
        return report

    def test_a_message_goes_on_with_requiretls_over_verified_tls(self):
        for tls in ("off", "opportunistic", "required"):
            with self.subTest(tls):
                sink = self.hop(inside=INSIDE)
                server = self.sender(self.to(sink, tls))
                self.submit(server, parameters=" REQUIRETLS")
                message = sink.wait_for(1)[0]
                self.assertEqual((message.tls, b"REQUIRETLS" in message.sender_parameters), ("TLSv1.3", True))

    def test_it_never_goes_over_a_connection_that_others_opened(self):
        sink = self.hop(self.untrustworthy["expired"], inside=INSIDE)
        server = self.sender({"idle_connection": 60, **self.to(sink, "opportunistic")})
        self.submit(server)
        sink.wait_for(1)
        self.submit(server, parameters=" REQUIRETLS", sender="a@elsewhere.example")
        # What comes over it is the report, which isn't lost for want of REQUIRETLS.
        report = sink.wait_for(2)[1]
        self.assertEqual((report.sender, report.addresses), (b"", ["a@elsewhere.example"]))
        self.assertNotIn(b"REQUIRETLS", report.sender_parameters)

    def test_it_comes_back_from_a_server_that_cannot_have_it(self):
        hops = {
            "no STARTTLS": self.sink(INSIDE),
            "REQUIRETLS in clear only": self.hop(extensions=INSIDE, inside=EVERYTHING),
            **{problem: self.hop(pair, inside=INSIDE) for problem, pair in self.untrustworthy.items()},
        }
        for name, sink in hops.items():
            with self.subTest(name):
                self.bounce(sink)

    def test_the_report_asks_for_the_same_and_brings_no_content_back(self):
        report = self.bounce(self.sink(), parameters=" REQUIRETLS RET=FULL", content=b"Subject: x\r\n\r\nsecret\r\n")
        self.assertIn(b"REQUIRETLS", report.sender_parameters)
        self.assertIn(b"Subject: x\r\n", report.content)
        self.assertNotIn(b"secret", report.content)

    def test_it_is_remembered_over_a_restart(self):
        sink = self.hop(inside=INSIDE, listening=False)
        server = self.sender(self.to(sink, "opportunistic"))
        self.submit(server, parameters=" REQUIRETLS")
        self.logged(server, "delivery_deferred")
        server.kill()
        sink.listen()
        server.start()
        self.assertIn(b"REQUIRETLS", sink.wait_for(1)[0].sender_parameters)

    def test_the_hosts_of_a_domain_count_only_when_nobody_can_have_forged_their_names(self):
        pair = self.authority.pair("relay", ("relay.example", "mx.relay.example"), ())
        address = {"relay.example": [("A", "127.0.0.1")], "mx.relay.example": [("A", "127.0.0.1")]}
        exchanger = {**address, "relay.example": [("MX", 10, "mx.relay.example"), ("A", "127.0.0.1")]}
        for zone, host, arrives in (
            (address, "relay.example", True),
            (exchanger, "relay.example", False),
            (exchanger, "[mx.relay.example]", True),
        ):
            with self.subTest(host=host, arrives=arrives):
                names = NameServer(zone)
                self.addCleanup(names.close)
                sink, back = self.hop(pair, inside=INSIDE), self.hop()
                server = self.sender(
                    {
                        "relay_host": f"{host}:{sink.port}", "dns_servers": [names.address],
                        "routes": [{"domain": "example.org", "deliver": back.route}],
                    },
                    local_domains=[],
                )
                self.submit(server, parameters=" REQUIRETLS")
                if arrives:
                    self.assertIn(b"REQUIRETLS", sink.wait_for(1)[0].sender_parameters)
                else:
                    self.assertIn(b"Status: 5.7.30\r\n", back.wait_for(1)[0].content)
                    self.assertEqual(sink.transcripts, [])

    def test_tls_required_no_lets_a_message_pass_where_the_route_would_not(self):
        content = b"Subject: x\r\nTLS-Required: No\r\n\r\nbody\r\n"
        for sink in (self.sink(), self.hop(self.untrustworthy["expired"])):
            server = self.sender(self.to(sink, "required"))
            self.submit(server)
            self.logged(server, "delivery_deferred")
            self.submit(server, content)
            self.assertEqual(sink.wait_for(1)[0].without_trace(), content)

    def test_requiretls_makes_tls_required_no_mean_nothing(self):
        self.bounce(self.sink(), content=b"Subject: x\r\nTLS-Required: No\r\n\r\nbody\r\n")


class RelayLogin(TLSCase):
    USER, PASSWORD = "relay-user", "correct horse"
    BASE64 = "AHJlbGF5LXVzZXIAY29ycmVjdCBob3JzZQ=="
    SECRETS = (PASSWORD, BASE64, "Y29ycmVjdCBob3JzZQ==")

    def relay(self, sink, password=PASSWORD, **delivery):
        file = self.directory() / "password"
        file.write_text(password + "\n")
        return self.sender(
            {
                "relay_host": f"[127.0.0.1]:{sink.port}", "relay_username": self.USER,
                "relay_password_file": str(file), "routes": None, **delivery,
            },
            local_domains=[], logging={"level": "debug"},
        )

    def smarthost(self, mechanisms="PLAIN LOGIN", **options):
        inside = (*EVERYTHING, f"AUTH {mechanisms}")
        return self.hop(inside=inside, users={self.USER: self.PASSWORD}, **options)

    def assertSecret(self, server):
        said = server.log + server.run("queue", "list") + "".join(
            server.run("queue", "show", message["id"]) for message in server.queue())
        for secret in self.SECRETS:
            self.assertNotIn(secret, said)

    def test_the_smarthost_is_given_the_password_inside_tls(self):
        for mechanisms, first in (("PLAIN LOGIN", f"AUTH PLAIN {self.BASE64}"), ("LOGIN", "AUTH LOGIN")):
            for tls in ("opportunistic", "required"):
                with self.subTest(mechanisms=mechanisms, tls=tls):
                    sink = self.smarthost(mechanisms)
                    server = self.relay(sink, relay_tls=tls)
                    self.submit(server)
                    sink.wait_for(1)
                    self.assertEqual(sink.transcripts[0].secure[1], first.encode())
                    self.assertSecret(server)

    def test_a_refused_login_puts_all_mail_off_and_is_told(self):
        sink = self.smarthost()
        server = self.relay(sink, password="wrong horse")
        for _ in range(3):
            self.submit(server)
        line = self.logged(server, "relay_login_failed", 3)
        self.assertRegex(line, r'text="\[127.0.0.1\]:.* does not let us log in: 535 5.7.8')
        # None has failed, and so there is no report either.
        self.assertEqual(len(server.waiting()), 3)
        self.assertNothingSent(sink)
        # The user exists now: nothing was lost.
        sink.users[self.USER] = "wrong horse"
        sink.wait_for(3)

    def test_a_smarthost_that_quotes_the_password_does_not_bring_it_into_the_log(self):
        sink = self.smarthost(faults={"auth": Always(f"500 5.5.2 AUTH PLAIN {self.BASE64} {self.PASSWORD}?\r\n".encode())})
        server = self.relay(sink)
        self.submit(server)
        self.logged(server, "relay_login_failed")
        self.assertSecret(server)

    def test_without_tls_the_password_is_sent_only_where_that_is_allowed(self):
        for allowed in (False, True):
            with self.subTest(allowed):
                sink = self.sink((*EVERYTHING, "AUTH PLAIN"), users={self.USER: self.PASSWORD})
                server = self.relay(sink, relay_auth_in_clear=allowed)
                self.submit(server)
                if allowed:
                    sink.wait_for(1)
                else:
                    self.assertIn("the password is not sent in clear", self.logged(server, "relay_login_failed"))
                    self.assertNothingSent(sink)
                self.assertEqual(any(command.startswith(b"AUTH") for command in sink.commands), allowed)

    def test_a_broken_handshake_is_no_reason_to_send_it_in_clear(self):
        sink = self.smarthost(faults={"handshake": Always(b"500 what?\r\n")})
        server = self.relay(sink)
        self.submit(server)
        self.logged(server, "delivery_deferred", 2)
        self.assertFalse([command for command in sink.commands if command.startswith(b"AUTH")])
        self.assertNothingSent(sink)

    def test_a_route_to_the_same_host_is_not_given_the_password(self):
        sink = self.smarthost()
        server = self.relay(sink, routes=[{"domain": "example.com", "deliver": sink.route}])
        self.submit(server)
        sink.wait_for(1)
        self.submit(server, recipients=["b@example.net"])
        sink.wait_for(2)
        self.assertEqual([sum(c.startswith(b"AUTH") for c in t.commands) for t in sink.transcripts], [0, 1])

    def test_who_submitted_a_message_is_told_where_auth_is_offered(self):
        users = self.directory() / "users.json"
        users.write_text(user_list({"a": sha512crypt("secret")}))
        for sink, told in ((self.smarthost(), [b"AUTH=e+3Dmc2@example.org", b"AUTH=<>"]), (self.hop(), [])):
            server = self.sender(self.to(sink, "opportunistic"), auth={"enabled": True, "file_path": str(users)})
            with self.client(server) as client:
                self.assertReply(client.command(auth_plain("a", "secret")), "235")
                for submitter in ("e+3Dmc2@example.org", "<>"):
                    reply = client.message("a@example.org", ["b@example.com"], b"x\r\n", f" AUTH={submitter}")
                    self.assertReply(reply, "250 2.0.0")
            parameters = [word for message in sink.wait_for(2) for word in message.sender_parameters]
            self.assertEqual(sorted(word for word in parameters if word.startswith(b"AUTH")), sorted(told))

    def test_a_password_file_that_cannot_be_read_keeps_the_server_from_starting(self):
        directory = self.directory()
        file = directory / "elemta.yaml"
        missing = directory / unique().decode()
        file.write_text(f'delivery: {{relay_host: "a.example:25", relay_username: me, relay_password_file: "{missing}"}}\n'
                        f'listen_addr: "127.0.0.1:0"\nlocal_domains: []\n')
        for command in ("check", "server"):
            said = run_elemta(command, "--config", file, status=78, directory=directory)
            self.assertIn(f"delivery.relay_password_file: {missing}", said)
