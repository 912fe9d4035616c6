import Glibc

/// How a spool comes to be open: after an unclean stop it is looked at first, and what is damaged is
/// salvaged.
struct SpoolOpening {
    struct Opened {
        let store: SpoolStore
        /// The greatest id that it knows of.
        let last: MessageID
        /// Messages that were found damaged.
        let damaged: [MessageID: String]
        /// What the journal has and the tables haven't.
        let journaled: [JournaledSubmission]
    }

    private let options: SpoolOptions
    private let mark: StopMark

    init(_ options: SpoolOptions) {
        self.options = options
        mark = StopMark(queue: options.path)
    }

    /// To look at it only: a damaged spool is left to the server's next start. That may be now: what
    /// looks like damage may be its work.
    func look() throws(SpoolError) -> Opened {
        do throws(SpoolError) {
            if !mark.isValid, case .damaged(let reason) = try check() { throw .unreadable(reason) }
            return try open(damaged: [:], .looking)
        } catch {
            try QueueLock.checkIsFree(options.path)
            throw error
        }
    }

    /// To change it. Until it is closed in good order the spool counts as stopped uncleanly.
    func change(isSalvaged: Bool) throws(SpoolError) -> Opened {
        var damaged: [MessageID: String] = [:]
        var reason: String?
        if !mark.isValid {
            switch try check() {
            case .sound(let found): damaged = found
            case .damaged(let what): reason = what
            case .failed(let what): throw .storage("the spool can't be looked at: \(what)")
            }
        }
        options.events(.opening)
        try removeMark()
        if reason == nil {
            do throws(SpoolError) {
                return try open(damaged: damaged)
            } catch {
                guard case .unreadable(let what) = error else { throw error }
                reason = what
            }
        }
        guard isSalvaged, let reason else { throw .unreadable(reason ?? "") }
        try Salvager.salvage(
            options.path, because: reason, mapSize: options.mapSize, events: options.events)
        return try open(damaged: [:])
    }

    private func removeMark() throws(SpoolError) {
        do throws(FileError) {
            try mark.remove()
        } catch {
            throw error.spoolError
        }
    }

    /// After an unclean stop.
    private func check() throws(SpoolError) -> CheckResult {
        guard let size = mark.spoolSize, size > 0 else { return .sound([:]) }
        options.events(.checking(octets: UInt64(size)))
        if let checker = options.checker {
            return CheckProcess.run(checker, queue: options.path)
        }
        do throws(SpoolError) {
            return .sound(try SpoolInspection(options.path, mapSize: options.mapSize).damaged)
        } catch {
            guard case .unreadable(let reason) = error else { throw error }
            return .damaged(reason)
        }
    }

    private func open(
        damaged: [MessageID: String], _ access: LMDBAccess = .writing
    ) throws(SpoolError) -> Opened {
        let store = try SpoolStore(path: options.path, mapSize: options.mapSize, access: access)
        let last = try store.beginGeneration()
        // Whoever only looks sees the tables.
        let journaled = access == .writing ? try entries(behind: store.applied) : []
        return Opened(
            store: store,
            last: journaled.reduce(last) { max($0, $1.submission?.envelope.id ?? $0) },
            damaged: damaged, journaled: journaled)
    }

    private func entries(behind applied: UInt64) throws(SpoolError) -> [JournaledSubmission] {
        do throws(FileError) {
            let entries = try JournalEntries(in: options.path, behind: applied)
            if entries.missing > 0 {
                let reason = "\(entries.missing) messages that were accepted can't be read"
                let file = try OpenFile(JournalFile.path(in: options.path), O_RDONLY)
                _ = try Quarantine(directory: options.path).keep(
                    try file.read(try file.size, at: 0), as: "journal", reason: reason)
                options.events(.quarantined(name: "journal", reason: reason))
            }
            return entries.submissions
        } catch {
            throw error.spoolError
        }
    }
}
