import Glibc

/// A look at everything in a spool. liblmdb ends the process when it finds what it doesn't expect,
/// and a page that the disk doesn't give does the same: for a process of its own (`SpoolCheck`).
struct SpoolInspection {
    /// Messages with a record that isn't what was written.
    private(set) var damaged: [MessageID: String] = [:]

    /// Reads every record of the spool in `queue`.
    ///
    /// - Throws: `.unreadable` when the spool is damaged as a whole.
    init(_ queue: String, mapSize: Int? = nil) throws(SpoolError) {
        let store: SpoolStore
        do throws(SpoolError) {
            store = try SpoolStore(path: queue, mapSize: mapSize, access: .alone)
        } catch {
            // Made, but the first transaction was never completed.
            if case .noQueue = error { return }
            throw error
        }
        defer { store.close() }
        var damaged: [MessageID: String] = [:]
        try store.reading { transaction, tables throws(SpoolError) in
            for (table, kind) in [
                (tables.envelope, RecordKind.envelope), (tables.content, .piece),
                (tables.removal, .removal), (tables.state, .spoolState),
            ] {
                try SpoolStore.walk(transaction, table) { key, record in
                    do throws(RecordDamage) {
                        let header = try RecordHeader.verify(record, is: kind, of: key.messageID)
                        if kind == .piece, header.part != key.partNumber {
                            throw .malformed("piece number")
                        }
                        if kind == .envelope { _ = try EnvelopeRecord.decode(record, header) }
                    } catch {
                        damaged[key.messageID] =
                            kind == .piece
                            ? "piece \(key.partNumber): \(error)" : "\(kind): \(error)"
                    }
                }
            }
            do throws(LMDBError) {
                try Self.count(transaction, tables)
            } catch {
                throw SpoolError(error)
            }
        }
        self.damaged = damaged
        try Self.lookAtBranches(queue)
    }

    private static func lookAtBranches(_ queue: String) throws(SpoolError) {
        let file: SpoolFile
        do throws(FileError) {
            file = try SpoolFile(queue + "/spool.mdb")
        } catch {
            throw error.spoolError
        }
        guard BranchPages.areSound(file) else {
            throw .unreadable("a branch page isn't the one that it should be")
        }
    }

    /// No page may be free and in use at the same time: what is written next would destroy it.
    private static func count(
        _ transaction: borrowing ReadTransaction, _ tables: SpoolStore.Tables
    ) throws(LMDBError) {
        let limit = tables.environment.usedPages
        var used = 2
        for table in [
            .freeList, .main, tables.envelope, tables.content, tables.removal, tables.state,
        ] {
            used += try transaction.pages(of: table)
        }
        var isFree = [Bool](repeating: false, count: limit)
        var free = 0
        try transaction.forEachFreePage { page in
            guard page > 1, page < limit, !isFree[page] else {
                used = .max / 2
                return
            }
            isFree[page] = true
            free += 1
        }
        guard used + free <= limit else {
            throw LMDBError(operation: "pages that are free and in use", code: LMDBError.corrupted)
        }
    }
}

/// The look at a spool after an unclean stop, as the main function of a process of its own.
public enum SpoolCheck {
    /// What the process ends with. What it says is on standard output, a line for each message that
    /// is damaged, or one line that says what is wrong with the spool.
    enum Status: Int32 {
        case sound = 0
        case damaged = 1
        /// It couldn't be found out.
        case failed = 2
    }

    /// Messages that are named; more are found by whoever reads them.
    private static let longestList = 500

    /// Looks at the spool in the directory `queue`. Blocks until it has read everything.
    ///
    /// - Returns: the exit status.
    public static func run(queue: String) -> Int32 {
        limit(queue)
        do throws(SpoolError) {
            for (id, reason) in try SpoolInspection(queue).damaged.prefix(longestList) {
                say("\(id) \(reason)")
            }
            return Status.sound.rawValue
        } catch {
            guard case .unreadable(let reason) = error else {
                say(error.description)
                return Status.failed.rawValue
            }
            say(reason)
            return Status.damaged.rawValue
        }
    }

    /// A loop among damaged pages ends by itself, and nobody needs to see the remains. Time that the
    /// disk takes doesn't count.
    private static func limit(_ queue: String) {
        let octets = StopMark(queue: queue).spoolSize ?? 0
        let seconds = rlim_t(60 + octets / (20 << 20))
        var time = rlimit(rlim_cur: seconds, rlim_max: seconds + 10)
        unsafe setrlimit(__rlimit_resource_t(RLIMIT_CPU.rawValue), &time)
        var core = rlimit(rlim_cur: 0, rlim_max: 0)
        unsafe setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &core)
    }

    private static func say(_ line: String) {
        let octets = Array((line + "\n").utf8)
        // Safe because the buffer is only read during the call.
        unsafe octets.withUnsafeBytes { octets in
            _ = unsafe write(STDOUT_FILENO, octets.baseAddress, octets.count)
        }
    }
}
