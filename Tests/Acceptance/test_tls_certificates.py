"""Certificates: chosen by name, checked at the start, read again while sessions go on."""

import os
import re
import signal

from harness.case import Case, SharedServerCase, WithCertificates, with_tls
from harness.certificates import replace
from harness.server import run_elemta, yaml
from harness.waiting import until

# A bad certificate is a mistake of the configuration.
REFUSED = (os.EX_CONFIG, 1)


class ByName(WithCertificates, SharedServerCase):
    """`tls.certificates` beside the first pair, chosen by SNI."""

    @classmethod
    def settle(cls):
        cls.others = [
            cls.authority.pair("other", ["other.example.net", "*.wild.example.net"], []),
            cls.authority.pair("third", ["third.example.net"], []),
        ]
        cls.configuration = {"tls": {"certificates": [pair.settings for pair in cls.others]}}

    def shown(self, name):
        """The certificate that a client sees who asks for this name."""
        client = self.connect(hello=None)
        context = self.authority.client_context()
        if name is None:
            context.check_hostname = False
        client.starttls(context, name)
        self.assertReply(client.ehlo(), "250")
        return client.socket.getpeercert(binary_form=True)

    def test_each_name_gets_its_certificate(self):
        for name, pair in (
            ("mail.example.com", self.pair),
            ("other.example.net", self.others[0]),
            ("OTHER.example.NET", self.others[0]),
            ("deep.wild.example.net", self.others[0]),
            ("third.example.net", self.others[1]),
        ):
            with self.subTest(name):
                self.assertEqual(self.shown(name), pair.der)

    def test_without_a_name_it_is_the_first_one(self):
        self.assertEqual(self.shown(None), self.pair.der)

    def test_for_an_unknown_name_it_is_the_first_one(self):
        client = self.connect(hello=None)
        context = self.authority.client_context()
        context.check_hostname = False
        client.starttls(context, "unknown.example.org")
        self.assertEqual(client.socket.getpeercert(binary_form=True), self.pair.der)


class AtTheStart(WithCertificates, Case):
    def assertRefused(self, pair, *named, more=None):
        """Neither the server nor `elemta check` takes it; both name the files."""
        configuration = with_tls(pair)
        if more:
            configuration["tls"]["certificates"] = [more.settings]
        server = self.unstarted_server(configuration)
        server.launch()
        self.assertIn(server.wait(), REFUSED)
        server.process = None
        checked = server.run("check", status=None)
        for said in (server.log, checked):
            for name in named:
                self.assertIn(str(name), said)

    def test_a_missing_file_is_named(self):
        for part in ("cert_file", "key_file"):
            with self.subTest(part):
                pair = self.authority.pair("missing")
                getattr(pair, part).unlink()
                self.assertRefused(pair, getattr(pair, part))

    def test_nonsense_is_named(self):
        for part in ("cert_file", "key_file"):
            for content in (b"", b"nonsense\n", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
                with self.subTest(part, content=content):
                    pair = self.authority.pair("nonsense")
                    getattr(pair, part).write_bytes(content)
                    self.assertRefused(pair, getattr(pair, part))

    def test_a_folder_is_named(self):
        pair = self.authority.pair("folder")
        pair.cert_file = self.directory()
        self.assertRefused(pair, pair.cert_file)

    def test_files_that_do_not_match_are_named(self):
        pair, other = self.authority.pair("one"), self.authority.pair("another")
        pair.key_file = other.key_file
        self.assertRefused(pair, pair.key_file)

    def test_a_further_pair_is_checked_too(self):
        missing = self.authority.pair("further")
        missing.key_file.unlink()
        self.assertRefused(self.pair, missing.key_file, more=missing)

    def test_an_expired_certificate_is_a_warning(self):
        expired = self.authority.pair("expired", expired=True)
        server = self.server(with_tls(expired))
        self.assertLogged(server, re.compile(rf"warning .*{expired.cert_file}"))
        self.assertLogged(server, re.compile("warning .*expired"))
        context = self.authority.client_context()
        context.check_hostname = False
        context.verify_mode = 0
        client = self.client(server)
        self.secured(client, context=context)
        self.assertEqual(client.socket.getpeercert(binary_form=True), expired.der)

    def test_check_warns_of_an_expired_one(self):
        expired = self.authority.pair("checked", expired=True)
        file = self.directory() / "elemta.yaml"
        file.write_text(yaml({"hostname": "mail.example.com", **with_tls(expired)}))
        said = run_elemta("check", "--config", file, directory=file.parent)
        self.assertIn("expired", said)
        self.assertIn(str(expired.cert_file), said)

    def test_a_key_that_everybody_may_read_still_serves(self):
        pair = self.authority.pair("open")
        pair.key_file.chmod(0o644)
        self.secured(self.client(self.server(with_tls(pair))))


class Renewal(WithCertificates, Case):
    """New content in the same files, with and without SIGHUP, while a session goes on."""

    def setUp(self):
        super().setUp()
        self.current = self.authority.pair("current")
        self.server_under_test = self.server(with_tls(self.current))
        self.live = self.secured(self.client(self.server_under_test))

    def shown(self):
        with self.client(self.server_under_test) as client:
            client.starttls(self.trusting)
            return client.socket.getpeercert(binary_form=True)

    def assertServedSoon(self, pair):
        until(lambda: self.shown() == pair.der, "the new certificate", 30)
        # Whoever was inside before is there still.
        self.assertReply(
            self.live.message("a@example.org", ["b@example.com"], b"x\r\n"), "250 2.0.0"
        )

    def reload(self):
        self.server_under_test.process.send_signal(signal.SIGHUP)

    def logs(self, path, since):
        """Waits until the log names the file after its first `since` characters."""
        until(lambda: str(path) in self.server_under_test.log[since:], f"{path} in the log", 30)

    def test_at_sighup(self):
        renewed = self.authority.pair("renewed")
        self.current.replace_with(renewed)
        self.reload()
        self.assertServedSoon(renewed)

    def test_when_the_files_change(self):
        for number in range(2):
            renewed = self.authority.pair(f"renewed-{number}")
            self.current.replace_with(renewed)
            self.assertServedSoon(renewed)

    def test_tickets_from_before_are_good_afterwards(self):
        context = self.authority.client_context()
        with self.client(self.server_under_test) as client:
            client.starttls(context).ehlo()
            session = client.socket.session
        renewed = self.authority.pair("renewed")
        self.current.replace_with(renewed)
        self.reload()
        self.assertServedSoon(renewed)
        with self.client(self.server_under_test) as client:
            client.starttls(context, session=session)
            self.assertReply(client.ehlo(), "250")
            self.assertTrue(client.socket.session_reused)

    def test_when_links_to_the_files_change(self):
        # How certbot and Kubernetes renew: what the name stands for is another file.
        links = self.directory()
        first, second = self.authority.pair("first"), self.authority.pair("second")
        pair = type(first)(links / "cert.pem", links / "key.pem")
        pair.cert_file.symlink_to(first.cert_file)
        pair.key_file.symlink_to(first.key_file)
        server = self.server(with_tls(pair))
        for name, target in (("cert.pem", second.cert_file), ("key.pem", second.key_file)):
            (links / "new").symlink_to(target)
            (links / "new").replace(links / name)

        def shown():
            with self.client(server) as client:
                client.starttls(self.trusting)
                return client.socket.getpeercert(binary_form=True)

        until(lambda: shown() == second.der, "the new certificate", 30)

    def test_a_bad_new_pair_is_refused_and_the_old_one_stays(self):
        old = self.current.der
        for part in ("cert_file", "key_file"):
            path = getattr(self.current, part)
            good = path.read_bytes()
            with self.subTest(part):
                length = len(self.server_under_test.log)
                replace(path, b"nonsense\n")
                self.reload()
                self.logs(path, length)
                self.assertEqual(self.shown(), old)
                self.assertReply(self.live.command("NOOP"), "250")
            replace(path, good)
        self.assertEqual(self.shown(), old)

    def test_half_a_renewal_is_waited_for(self):
        renewed = self.authority.pair("late")
        old = self.current.der
        length = len(self.server_under_test.log)
        replace(self.current.cert_file, renewed.cert_file.read_bytes())
        self.reload()
        self.logs(self.current.key_file, length)
        self.assertEqual(self.shown(), old)
        replace(self.current.key_file, renewed.key_file.read_bytes())
        self.assertServedSoon(renewed)

    def test_files_that_vanish_leave_the_old_pair(self):
        old = self.current.der
        length = len(self.server_under_test.log)
        self.current.cert_file.unlink()
        self.reload()
        self.logs(self.current.cert_file, length)
        self.assertEqual(self.shown(), old)
