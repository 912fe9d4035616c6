"""Debian's chasquid, unpacked and run from a folder of its own. It needs no root."""

import shutil
import subprocess

from harness.certificates import Authority
from harness.server import ROOT, environment

from .target import Target, free_port

PROGRAM = ROOT / ".build-tools/chasquid/usr/bin/chasquid"
# Submission isn't used, but without an address it asks systemd for sockets.
CONFIGURATION = """\
hostname: "mail.example.com"
smtp_address: "127.0.0.1:{port}"
submission_address: "127.0.0.1:0"
submission_over_tls_address: "127.0.0.1:0"
data_dir: "{data}"
mail_log_path: "{directory}/mail.log"
"""


class Chasquid(Target):
    """Its nearest to throwing mail away is a pipe to /bin/true, one process a message."""

    name = "chasquid"
    # It would ask DNS for the SPF record of any other sender's domain.
    sender = ""
    most_messages = 180
    most_sending = 180
    why_no_more = "its queue holds 200 messages, then it answers 451"
    process = None

    @classmethod
    def missing(cls):
        return None if PROGRAM.exists() else "chasquid isn't unpacked: scripts/dependencies perf"

    def start(self):
        configuration, data = self.directory / "config", self.directory / "data"
        certificates = configuration / "certs/mail.example.com"
        domain = configuration / "domains/example.com"
        for folder in (certificates, domain, data):
            folder.mkdir(parents=True)
        # It doesn't start without a certificate.
        pair = self.pair or Authority(self.directory / "authority").pair()
        shutil.copyfile(pair.cert_file, certificates / "fullchain.pem")
        shutil.copyfile(pair.key_file, certificates / "privkey.pem")
        (domain / "aliases").write_text("b: | /bin/true\n")
        self.address = "127.0.0.1", free_port()
        (configuration / "chasquid.conf").write_text(
            CONFIGURATION.format(port=self.address[1], data=data, directory=self.directory)
        )
        log = self.directory / "log"
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [PROGRAM, "-config_dir", configuration],
                env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )
        self.pid = self.process.pid
        self.until_listening(self.process, log)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
