import ElemtaThreads

/// The few threads that write and sync content files, so that a slow disk never holds the reactor.
final class FilesPool: Sendable {
    /// One job is one write of some 64 KiB or one fsync; more threads than this only make a disk
    /// seek more.
    static let threadCount = 4

    private let inbox = Inbox<@Sendable () -> Void>()
    private let threads: [NamedThread]

    init() throws(ThreadError) {
        let inbox = inbox
        var threads: [NamedThread] = []
        for index in 0..<Self.threadCount {
            threads.append(
                try NamedThread("elemta-files-\(index)") {
                    while let job = inbox.takeOne() { job() }
                })
        }
        self.threads = threads
    }

    /// Jobs that wait for a thread.
    var backlog: Int { inbox.count }

    /// Runs `job` on one of the threads, some time soon. Jobs that must follow each other post the
    /// next one when they are done.
    func run(_ job: @escaping @Sendable () -> Void) {
        inbox.post(job)
    }

    /// Finishes what waits and ends the threads.
    func stop() {
        inbox.close()
        for thread in threads { thread.join() }
    }
}
