"""What the measurements share: processor time, medians, the machine in words."""

import os
import pathlib
import platform
import statistics
import time

# A server is idle once it has used less than this share of one processor for a while.
IDLE_SHARE = 0.01
IDLE_WINDOW = 0.25
# It has this long to become so, seconds.
IDLE_DEADLINE = 120


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
        return sum(processor_seconds(pid) for pid in family(self.pid))


def processor_seconds(pid):
    """By the process's own clock, in nanoseconds: threads that have ended count too."""
    # clock_getcpuclockid(3): the clock's number holds the process id; 2 is CPUCLOCK_SCHED.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0  # ended meanwhile


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
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/{pid}/smaps_rollup says nothing of Pss")


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
