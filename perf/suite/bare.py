"""bare/bare-log.c: the least that a server must do before it answers 250, compiled when it's first measured."""

import subprocess
import tempfile
from pathlib import Path

from harness.disk import compiler
from harness.server import ROOT, environment

from .target import Target, Unable

SOURCE = ROOT / "perf/bare/bare-log.c"
PROGRAM = ROOT / ".build-perf/bare-log"
OPTIONS = ("-std=c11", "-O2", "-Wall", "-Wextra")
LIBRARIES = ("-pthread", "-levent_core")


def build():
    """Compiles the program if it is older than its source; raises `Unable` if that can't be done."""
    if PROGRAM.exists() and PROGRAM.stat().st_mtime > SOURCE.stat().st_mtime:
        return
    try:
        command = compiler()
    except AssertionError as error:
        raise Unable(str(error)) from None
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PROGRAM.parent) as folder:
        made = Path(folder) / PROGRAM.name
        compiled = subprocess.run(
            [command, *OPTIONS, "-o", made, SOURCE, *LIBRARIES], capture_output=True, text=True, check=False,
        )
        if compiled.returncode:
            wrong = next((line for line in compiled.stderr.splitlines() if "error" in line), f"{command} fails")
            raise Unable(f"it can't be compiled (scripts/dependencies run): {wrong}")
        made.rename(PROGRAM)


class BareLog(Target):
    """Sockets on libevent, one file, one sync for all that waits: the limit of what syncs before it answers."""

    name = "bare-log"
    why_no_tls = "it has no STARTTLS"
    process = None

    @classmethod
    def missing(cls):
        try:
            build()
        except Unable as reason:
            return str(reason)
        return None

    def start(self):
        with open(self.directory / "errors", "wb") as errors:
            self.process = subprocess.Popen(
                [PROGRAM, str(self.sessions + 500), self.directory / "log"],
                env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            )
        listening = self.process.stdout.readline().decode().strip()
        if not listening:
            raise AssertionError(f"{self.name} doesn't start: {(self.directory / 'errors').read_text()}")
        host, _, port = listening.rpartition(":")
        self.pid, self.address = self.process.pid, (host, int(port))

    def end(self):
        if self.process:
            self.process.terminate()
            self.process.wait(30)
            self.process.stdout.close()
