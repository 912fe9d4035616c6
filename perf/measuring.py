"""What the measurements share: processor time, medians, held sessions, the machine in words."""

import multiprocessing
import os
import pathlib
import platform
import resource
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "Tests/Acceptance"))

from harness.client import Client

# A server is idle once it has used less than this share of one processor for a while.
IDLE_SHARE = 0.01
IDLE_WINDOW = 0.25
# It has this long to become so, seconds.
IDLE_DEADLINE = 120

# No process holds more descriptors than this, as a limit of 20,000 is usual.
SESSIONS_A_PROCESS = 5_000
ADDRESSES = 200
# A probe client's transactions take no longer than this altogether, seconds.
PROBING = 20


class ProcessorTime:
    """The processor time of a process and its descendants, all threads, since this was made."""

    def __init__(self, pid):
        self.pid = pid
        self.before = self._used()

    def until_idle(self):
        """Waits until the server has done all the work that it owes; seconds of processor time."""
        deadline = time.monotonic() + IDLE_DEADLINE
        last = self._used()
        while time.monotonic() < deadline:
            time.sleep(IDLE_WINDOW)
            now = self._used()
            if now - last < IDLE_SHARE * IDLE_WINDOW:
                return now - self.before
            last = now
        raise SystemExit(f"process {self.pid} isn't idle after {IDLE_DEADLINE} s")

    def _used(self):
        return sum(processor_seconds(pid) + waited_seconds(pid) for pid in family(self.pid))


def processor_seconds(pid):
    """By the process's own clock, in nanoseconds: threads that have ended count too."""
    # clock_getcpuclockid(3): the clock's number holds the process id; 2 is CPUCLOCK_SCHED.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0  # ended meanwhile


def waited_seconds(pid):
    """What children that have ended used: Postfix's smtpd ends after 100 clients, and its time mustn't be lost."""
    try:
        # proc(5): cutime and cstime are fields 16 and 17; field 2, the name, may hold anything but ends with ")".
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # ended meanwhile
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def family(pid):
    """The process and its descendants."""
    found = [pid]
    for parent in found:
        for children in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:
                pass
    return found


def proportional_octets(pid):
    """PSS: private memory plus the process's share of what it shares."""
    return rollup(pid, "Pss")


def anonymous_octets(pid):
    """Private memory that no file stands behind: the pages of a mapped spool are the system's cache."""
    return rollup(pid, "Anonymous")


def rollup(pid, name):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/{pid}/smaps_rollup says nothing of {name}")


def written_octets(pid):
    """What the process has had written to the disk."""
    for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise SystemExit(f"/proc/{pid}/io says nothing of write_bytes")


class figures:
    """Median, minimum and maximum of some rounds."""

    def __init__(self, values):
        self.median = statistics.median(values)
        self.least, self.most = min(values), max(values)

    def text(self, digits):
        return f"{self.median:.{digits}f} ({self.least:.{digits}f}..{self.most:.{digits}f})"


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def describe_machine(directory):
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    return (
        f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {platform.release()}, "
        f"queue on {file_system(directory)}"
    )


def file_system(directory):
    """The type of the file system that holds the directory."""
    best = ("", "unknown")
    path = str(pathlib.Path(directory).resolve())
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split()
        if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def source_address(number):
    """Where a held session comes from: one of many addresses of 127.0.0.0/8."""
    return f"127.1.{number % ADDRESSES // 250}.{number % 250 + 1}"


class Holders:
    """Client processes that hold `count` sessions until `close`.

    `hold(numbers, pipe, *arguments)` runs in each: it opens a session for each number, sends how many
    there are, and keeps them until it is sent anything.
    """

    def __init__(self, hold, count, *arguments, a_process=SESSIONS_A_PROCESS):
        context = multiprocessing.get_context("spawn")
        self.processes = []
        for first in range(0, count, a_process):
            numbers = range(first, min(first + a_process, count))
            ours, theirs = context.Pipe()
            process = context.Process(target=hold, args=(numbers, theirs, *arguments))
            process.start()
            theirs.close()
            self.processes.append((process, ours))

    def until_held(self):
        """How many sessions there are, once all are."""
        try:
            return sum(pipe.recv() for _, pipe in self.processes)
        except EOFError:
            raise SystemExit("a client process ended before it held its sessions") from None

    def are_alive(self):
        return all(process.is_alive() for process, _ in self.processes)

    def tell(self, word):
        for _, pipe in self.processes:
            pipe.send(word)

    def close(self):
        for process, pipe in self.processes:
            try:
                pipe.send("end")
            except OSError:
                pass  # it has ended by itself
            process.join(60)
            process.kill()


def probe(address, count, tls=None, sender="a@example.org", seconds=PROBING):
    """The durations of `count` whole transactions, connect to QUIT, milliseconds; fewer if they take too long."""
    durations = []
    content = b"Subject: probe\r\n\r\n" + (b"p" * 78 + b"\r\n") * 12
    end = time.monotonic() + seconds
    while len(durations) < count and time.monotonic() < end:
        began = time.perf_counter()
        with Client(address) as client:
            client.ehlo()
            if tls:
                client.starttls(tls).ehlo()
            reply = client.message(sender, ["b@example.com"], content)
            if reply.code != 250:
                raise SystemExit(f"the probe was answered {reply}")
            client.command("QUIT")
        durations.append((time.perf_counter() - began) * 1000)
    return durations


