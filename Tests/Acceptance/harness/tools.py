"""The mail programs of others: swaks, curl, msmtp, openssl, smtp-source and smtp-sink."""

import errno
import os
import re
import shutil
import socket
import subprocess
import tempfile

from .server import ROOT, environment
from .waiting import PATIENCE, until

POSTFIX = ROOT / ".build-tools/postfix"
MAILX = ROOT / ".build-tools/mailx/usr/bin/bsd-mailx"
MSMTP = ROOT / ".build-tools/msmtp"


def postfix_command(program):
    return str(POSTFIX / "usr/sbin" / program)


def postfix_environment():
    # mail_config names a folder without main.cf's surprises; the libraries lie beside the program.
    return environment({"LD_LIBRARY_PATH": str(POSTFIX / "usr/lib/postfix")})


def run(command, input=None, status=0, seconds=60, env=None, directory=None):
    """Runs a program to its end; what it prints, both streams together."""
    if not shutil.which(command[0]):
        raise AssertionError(f"{command[0]} isn't installed: scripts/dependencies test")
    finished = subprocess.run(
        [str(word) for word in command],
        cwd=directory,
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env or environment(),
        timeout=seconds * PATIENCE,
        check=False,
    )
    said = finished.stdout.decode(errors="backslashreplace")
    if finished.returncode != status:
        raise AssertionError(f"{command[0]}: exit status {finished.returncode}, not {status}:\n{said}")
    return said


def swaks(address, *arguments, **options):
    return run(["swaks", "--server", address[0], "--port", address[1], *arguments], **options)


def curl(address, *arguments, scheme="smtp", **options):
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    url = f"{scheme}://{host}:{address[1]}/client.example.org"
    return run(["curl", "--silent", "--show-error", "--url", url, *arguments], **options)


def msmtp(address, *arguments, **options):
    """msmtp without any configuration file of the machine's."""
    libraries = [*MSMTP.glob("usr/lib/*-linux-gnu"), *MSMTP.glob("lib/*-linux-gnu")]
    command = [MSMTP / "usr/bin/msmtp", "--host", address[0], "--port", address[1],
               "--file", "/dev/null", "--domain", "client.example.org", *arguments]
    env = environment({"LD_LIBRARY_PATH": ":".join(map(str, libraries))})
    return run(command, env=env, **options)


def mailx(sendmail, *arguments, home, variables=None, **options):
    """bsd-mailx, whose sendmail is that program; `home` is a folder for its settings."""
    settings = home / "mailrc"
    settings.write_text(f"set sendmail={sendmail}\n")
    libraries = MAILX.parents[2].glob("usr/lib/*-linux-gnu")
    env = environment({"LD_LIBRARY_PATH": ":".join(map(str, libraries)), "MAILRC": str(settings)} | (variables or {}))
    return run([MAILX, *arguments], env=env, directory=home, **options)


def s_client(address, *arguments, **options):
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    command = ["openssl", "s_client", "-connect", f"{host}:{address[1]}", *arguments]
    return run(command, **options)


def smtp_source(address, *arguments, seconds=120):
    target = f"inet:{address[0]}:{address[1]}"
    command = [postfix_command("smtp-source"), *arguments, target]
    return run(command, seconds=seconds, env=postfix_environment())


class SmtpSink:
    """smtp-sink on a free port; with `folder` it writes each message to a file there.

    With the option -c it counts: `count`.
    """

    def __init__(self, folder, arguments=()):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = list(arguments)
        if folder:
            options += ["-d", str(folder / "%M.")]
        if os.geteuid() == 0:
            # It refuses to run as root.
            options += ["-u", "nobody"]
            if folder:
                shutil.chown(folder, "nobody")
        self.counted = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [postfix_command("smtp-sink"), *options, f"inet:127.0.0.1:{self.port}", "1024"],
            cwd=folder,
            env=postfix_environment(),
            stdin=subprocess.DEVNULL,
            stdout=self.counted,
            stderr=subprocess.PIPE,
        )
        until(self._listens_or_gone, "smtp-sink listening")
        if self.process.poll() is not None:
            raise AssertionError(f"smtp-sink: {self.process.stderr.read().decode()}")

    def _listens_or_gone(self):
        if self.process.poll() is not None:
            return True
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def route(self):
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def files(self):
        return [path for path in self.folder.iterdir() if path.is_file()]

    def wait_for(self, count, seconds=30):
        until(lambda: len(self.files) >= count, f"{count} files of smtp-sink", seconds)

    def count(self):
        """The messages that it has taken."""
        size = os.fstat(self.counted.fileno()).st_size
        found = re.findall(rb"mesg=(\d+)", os.pread(self.counted.fileno(), 200, max(0, size - 200)))
        return int(found[-1]) if found else 0

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stderr.close()
        self.counted.close()


def can_bind(host, port, family=socket.AF_INET):
    """Whether we may. Another test that asks at the same moment is no reason why not."""
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
        return True


def is_root():
    return os.geteuid() == 0
