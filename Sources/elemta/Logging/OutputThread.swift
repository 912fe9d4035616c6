import ElemtaThreads
import Glibc
import Synchronization

/// Standard output beside a log file, on a thread of its own: a reader that has stopped (a pager, a
/// terminal after Ctrl-S, a pipe that nobody empties) keeps no line from the file.
///
/// What it doesn't take waits, up to `capacity`; what comes beyond that is lost to it, is counted, and
/// a line says how many once it reads again.
final class OutputThread: Sendable {
    /// Octets that may wait.
    static let capacity = 4 << 20

    private let inbox = Inbox<[UInt8]>()
    /// Closed when the thread has written its last line.
    private let finished = Inbox<Never>()
    private let waiting = Atomic<Int>(0)
    /// Lines that were lost and not yet told of.
    private let untold = Atomic<Int>(0)
    private let lost: SharedCount
    private let thread: Locked<NamedThread?>

    /// - Parameters:
    ///   - lost: counts lines that don't get there.
    ///   - word: the line that tells of so many.
    init(
        _ output: LogOutput, lost: SharedCount, word: @escaping @Sendable (Int) -> [UInt8]
    ) throws(ThreadError) {
        self.lost = lost
        thread = Locked(nil)
        let thread = try NamedThread("elemta-stdout") { [self] in run(output, word) }
        self.thread.withLock { $0 = thread }
    }

    /// Hands whole lines over; never waits.
    func write(_ lines: [UInt8]) {
        guard waiting.load(ordering: .relaxed) < Self.capacity else {
            let count = lines.count { $0 == UInt8(ascii: "\n") }
            untold.add(count, ordering: .relaxed)
            lost.add(UInt64(count))
            return
        }
        waiting.add(lines.count, ordering: .relaxed)
        inbox.post(lines)
    }

    /// Writes what waits and ends, unless the reader takes longer than `limit`.
    func stop(within limit: Duration) {
        inbox.close()
        guard let thread = thread.withLock({ $0.take() }),
            case .closed = finished.take(within: limit)
        else { return }
        thread.join()
    }

    private func run(_ initial: LogOutput, _ word: @Sendable (Int) -> [UInt8]) {
        var output = initial
        defer { finished.close() }
        while case .elements(let pieces) = inbox.take() {
            for lines in pieces {
                lost.add(UInt64(output.write(wordOnLoss(word) + lines)))
                waiting.subtract(lines.count, ordering: .relaxed)
            }
        }
        lost.add(UInt64(output.write(wordOnLoss(word))))
    }

    private func wordOnLoss(_ word: (Int) -> [UInt8]) -> [UInt8] {
        let missing = untold.exchange(0, ordering: .relaxed)
        return missing > 0 ? word(missing) : []
    }
}
