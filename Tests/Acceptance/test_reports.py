"""Delivery status notifications, as Python's email module reads them (RFC 3461, 3462, 3464, 6533)."""

import email
import email.policy
import email.utils
import time

from harness.case import Case, routes_to, unique
from harness.waiting import until

REFUSAL = b"550 5.1.1 No such user here\r\n"


class Report:
    """A `multipart/report` taken apart; whatever is wrong with it fails."""

    def __init__(self, case, message):
        case.assertEqual(message.sender, b"", "a report is from nobody")
        case.assertFalse(any(p.upper().startswith(b"NOTIFY") for _, ps in message.recipients for p in ps))
        self.octets = message.without_trace() if message.content.startswith(b"Received:") else message.content
        self.message = email.message_from_bytes(self.octets, policy=email.policy.default)
        case.assertEqual(self.message.get_content_type(), "multipart/report")
        case.assertEqual(self.message.get_param("report-type"), "delivery-status")
        for field in ("From", "To", "Date", "Message-ID", "Subject", "MIME-Version"):
            case.assertIsNotNone(self.message[field], field)
        case.assertEqual(self.message["Auto-Submitted"], "auto-replied")
        case.assertEqual([], self.message.defects)
        text, status, *original = self.message.iter_parts()
        case.assertEqual(text.get_content_type(), "text/plain")
        self.text = text.get_content().replace("\r\n", "\n")
        self.kind = status.get_content_type()
        # The module knows message/delivery-status and takes message/global-delivery-status for a message.
        self.groups = self.fields(status)
        self.original = original[0] if original else None
        for line in self.octets.split(b"\r\n"):
            case.assertLessEqual(len(line), 998)

    def fields(self, status):
        if status.get_content_type() == "message/delivery-status":
            return status.get_payload()
        octets = status.as_bytes(policy=email.policy.SMTPUTF8).split(b"\r\n\r\n", 1)[1]
        groups = octets.decode().strip().split("\r\n\r\n")
        return [dict(line.split(": ", 1) for line in group.split("\r\n") if ": " in line) for group in groups]

    @property
    def about_message(self):
        return self.groups[0]

    @property
    def recipients(self):
        return self.groups[1:]

    @property
    def actions(self):
        """Action and status by final recipient."""
        return {group["Final-Recipient"]: (group["Action"], group["Status"]) for group in self.recipients}


class Reports(Case):
    def sent(self, server, recipients, parameters="", sender="a@sender.example", content=b"Subject: x\r\n\r\nbody\r\n"):
        """Sends to pairs of an address and the parameters of its RCPT; the id of the message."""
        with self.client(server) as client:
            self.assertReply(client.command(f"MAIL FROM:<{sender}>{parameters}"), "250")
            for address, more in recipients:
                self.assertReply(client.command(f"RCPT TO:<{address}>{more}"), "250")
            reply = client.data(content)
            self.assertReply(reply, "250")
        return reply.message_id

    def report(self, sink, number=1):
        """The report of that number."""

        def reports():
            return [message for message in sink.messages if message.sender == b""]

        until(lambda: len(reports()) >= number, f"{number} reports", 20)
        self.assertEqual(len(reports()), number)
        return Report(self, reports()[-1])

    def test_failed_recipients_are_told_of_together(self):
        sink = self.sink(faults={"rcpt": lambda a: REFUSAL if b"none" in a else None})
        server = self.server(routes_to(sink))
        token = unique()
        identifier = self.sent(
            server,
            [("none1@example.com", " ORCPT=rfc822;First+2BOne@example.com"), ("some@example.com", ""),
             ("none2@example.com", " NOTIFY=FAILURE,DELAY"), ("none3@example.com", " NOTIFY=NEVER")],
            " ENVID=QQ+3D1 RET=FULL", content=b"Subject: %s\r\n\r\nbody\r\n" % token,
        )
        report = self.report(sink)
        about = report.about_message
        self.assertEqual(about["Reporting-MTA"], "dns; mail.example.com")
        self.assertEqual(about["Original-Envelope-Id"], "QQ=1")
        self.assertEqual(about["Received-From-MTA"], "dns; client.example.org")
        self.assertLess(abs(email.utils.parsedate_to_datetime(about["Arrival-Date"]).timestamp() - time.time()), 60)
        self.assertEqual(
            report.actions,
            {f"rfc822; none{number}@example.com": ("failed", "5.1.1") for number in (1, 2)},
        )
        first, second = report.recipients
        self.assertEqual(first["Original-Recipient"], "rfc822; First+One@example.com")
        self.assertIsNone(second["Original-Recipient"])
        self.assertIn("550 5.1.1 No such user here", first["Diagnostic-Code"])
        self.assertTrue(first["Diagnostic-Code"].startswith("smtp; "))
        self.assertEqual(first["Remote-MTA"], "dns; [127.0.0.1]")
        self.assertIsNotNone(first["Last-Attempt-Date"])
        self.assertIsNone(first["Will-Retry-Until"])
        self.assertEqual(report.original.get_content_type(), "message/rfc822")
        self.assertIn(token, report.original.as_bytes())
        self.assertIn(b"body", report.original.as_bytes())
        # A person reads what happened, to whom, and what to do.
        for words in ("could not be delivered", "<none1@example.com>", "<none2@example.com>",
                      "said: 550 5.1.1 No such user here", "check its spelling", "postmaster@mail.example.com"):
            self.assertIn(words, report.text)
        self.assertNotIn("some@example.com", report.text)
        self.assertIn("failed", server.run("queue", "why", identifier))

    def test_a_delay_is_told_once_and_until_when_it_is_tried(self):
        sink = self.sink(faults={"rcpt": lambda a: b"450 4.2.1 Busy\r\n" if b"example.com" in a else None})
        server = self.server({"queue": {"retry_schedule": [1], "delay_warning": 1}, **routes_to(sink)})
        self.sent(server, [("b@example.com", " NOTIFY=DELAY"), ("c@example.com", " NOTIFY=FAILURE")], " RET=FULL")
        report = self.report(sink)
        self.assertEqual(report.actions, {"rfc822; b@example.com": ("delayed", "4.2.1")})
        until_when = email.utils.parsedate_to_datetime(report.recipients[0]["Will-Retry-Until"]).timestamp()
        self.assertLess(abs(until_when - time.time() - 432_000), 60)
        # RFC 3461 4.3: RET is about failures.
        self.assertEqual(report.original.get_content_type(), "text/rfc822-headers")
        self.assertIn("You need not\ndo anything", report.text)
        tries = len([c for c in sink.commands if b"b@example.com" in c])
        until(lambda: len([c for c in sink.commands if b"b@example.com" in c]) > tries + 1, "two further attempts")
        self.report(sink)

    def test_a_delay_is_told_while_the_next_hop_is_down(self):
        down, up = self.sink(listening=False), self.sink()
        routes = [{"domain": "example.com", "deliver": down.route}, {"domain": "*", "deliver": up.route}]
        server = self.server({"queue": {"delay_warning": 1}, "delivery": {"routes": routes}})
        self.sent(server, [("first@example.com", "")])
        until(lambda: "destination_unreachable" in server.log, "the destination found to be down")
        self.sent(server, [("b@example.com", " NOTIFY=DELAY")])
        report = self.report(up)
        self.assertEqual(report.actions, {"rfc822; b@example.com": ("delayed", "4.4.1")})
        self.assertIn("Connection refused", report.text)
        # Nothing was tried for this one.
        self.assertIsNone(report.recipients[0]["Last-Attempt-Date"])

    def test_success_is_told_by_whoever_is_the_last_to_know(self):
        plain, speaks = self.sink(("8BITMIME",)), self.sink()
        routes = [
            {"domain": "here.example", "deliver": "discard"}, {"domain": "plain.example", "deliver": plain.route},
            {"domain": "*", "deliver": speaks.route},
        ]
        server = self.server({"local_domains": [], "delivery": {"routes": routes}})
        for domain, action in (("here.example", "delivered"), ("plain.example", "relayed")):
            with self.subTest(domain):
                self.sent(server, [(f"b@{domain}", " NOTIFY=SUCCESS"), (f"c@{domain}", "")], " RET=FULL ENVID=x")
                report = self.report(speaks, 1 if action == "delivered" else 2)
                self.assertEqual(report.actions, {f"rfc822; b@{domain}": (action, "2.0.0")})
                self.assertEqual(report.original.get_content_type(), "text/rfc822-headers")
        # A next hop with DSN gets what was asked for, and tells of it itself.
        self.sent(server, [("b@other.example", " NOTIFY=SUCCESS ORCPT=rfc822;B@other.example")], " RET=HDRS ENVID=e")
        passed = until(lambda: [m for m in speaks.messages if m.addresses == ["b@other.example"]], "the message")[0]
        self.assertIn(b"RET=HDRS", passed.sender_parameters)
        self.assertIn(b"ENVID=e", passed.sender_parameters)
        self.assertIn(b"NOTIFY=SUCCESS", passed.recipients[0][1])
        self.assertIn(b"ORCPT=rfc822;B@other.example", passed.recipients[0][1])
        server.until_nothing_waits()
        self.assertEqual(sum(m.sender == b"" for m in speaks.messages), 2)

    def test_addresses_in_utf_8(self):
        sink = self.sink(faults={"rcpt": lambda a: REFUSAL if "дин".encode() in a else None})
        server = self.server(routes_to(sink))
        self.sent(
            server, [("дин@example.com", " ORCPT=utf-8;дин@example.com")], " SMTPUTF8 RET=FULL",
            sender="пошта@sender.example", content="Subject: тест\r\n\r\nтіло\r\n".encode(),
        )
        report = self.report(sink)
        self.assertEqual(report.kind, "message/global-delivery-status")
        self.assertEqual(report.actions, {"utf-8; дин@example.com": ("failed", "5.1.1")})
        self.assertEqual(report.recipients[0]["Original-Recipient"], "utf-8; дин@example.com")
        self.assertEqual(report.original.get_content_type(), "message/global")
        self.assertIn("<дин@example.com>", report.text)
        self.assertIn("тіло".encode(), report.octets)

    def test_nobody_is_told_about_a_report(self):
        sink = self.sink(faults={"rcpt": lambda a: REFUSAL if b"example.com" in a else None})
        server = self.server(routes_to(sink))
        self.sent(server, [("b@example.com", " NOTIFY=FAILURE,DELAY")], sender="")
        server.until_nothing_waits()
        self.assertEqual(sink.messages, [])
