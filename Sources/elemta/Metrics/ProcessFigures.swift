import ElemtaReactor
import Glibc
import Synchronization

/// What the kernel says about this process.
enum ProcessFigures {
    /// Resident memory, octets.
    static var residentOctets: Int {
        let words = (SmallFile.read("/proc/self/statm") ?? "").split(separator: " ")
        guard words.count > 1, let pages = Int(words[1]) else { return 0 }
        return pages * Int(getpagesize())
    }

    /// Time that all threads have used, seconds.
    static var processorSeconds: Double {
        var time = timespec()
        // Safe because `time` is a local of the right type.
        guard unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 else { return 0 }
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1_000_000_000
    }

    /// Open descriptors. From Linux 6.2 on the kernel tells at once (proc_pid_fd(5)); before, each costs
    /// a microsecond, which is too much for the reactor.
    static var descriptors: Int { quickDescriptors ?? countedDescriptors }

    /// Nil where the kernel doesn't tell at once.
    static var quickDescriptors: Int? {
        var status = stat()
        guard unsafe stat("/proc/self/fd", &status) == 0, status.st_size > 0 else { return nil }
        return Int(status.st_size)
    }

    private static var countedDescriptors: Int {
        guard let directory = unsafe opendir("/proc/self/fd") else { return 0 }
        defer { unsafe closedir(directory) }
        // Not itself, "." and "..".
        var count = -3
        while unsafe readdir(directory) != nil { count += 1 }
        return max(0, count)
    }

    /// How many descriptors there may be: the soft limit.
    static var descriptorLimit: Int { DescriptorLimit.raise().soft }
}

/// How many descriptors are open, for whoever can't wait until they are counted: as it was when it was
/// asked before.
final class DescriptorCount: Sendable {
    private let last = Atomic<Int>(0)

    /// `later` runs what it is given on a thread that may wait.
    func value(_ later: (@escaping @Sendable () -> Void) -> Void) -> Int {
        if let count = ProcessFigures.quickDescriptors { return count }
        later { [self] in last.store(ProcessFigures.descriptors, ordering: .relaxed) }
        return last.load(ordering: .relaxed)
    }
}
