import Glibc

/// What a journal holds that isn't in the tables.
struct JournalEntries {
    /// In the order of their numbers.
    private(set) var submissions: [JournaledSubmission] = []
    /// How many are damaged that somebody may have been told 250 for. Of the last batch nobody was, if any of it
    /// is missing: a power loss during its sync leaves that.
    private(set) var missing: UInt64 = 0

    /// Reads them.
    ///
    /// - Parameter applied: the number of the last entry that is in the tables.
    init(in queue: String, behind applied: UInt64) throws(FileError) {
        let path = JournalFile.path(in: queue)
        guard FileSystem.exists(path) else { return }
        let file = try OpenFile(path, O_RDONLY)
        let page = try file.read(JournalLayout.pageCount, at: 0)
        guard let header = JournalLayout.Header(page.span) else { return }
        var entries: [JournalLayout.Entry] = []
        for half in 0...1 {
            let octets = try file.read(header.halfCount, at: header.offset(ofHalf: half))
            entries += JournalLayout.entries(of: octets.span, key: header.key, behind: applied)
        }
        entries.sort { $0.sequence < $1.sequence }
        missing = Self.gaps(in: entries, behind: applied)
        submissions = entries.map { entry in
            // Whoever was to be told 250 is gone.
            let submission = Submission(
                token: 0, envelope: entry.envelope,
                content: .inMemory(ContentOctets(entry.content)))
            return JournaledSubmission(sequence: entry.sequence, submission: submission)
        }
    }

    private static func gaps(in entries: [JournalLayout.Entry], behind applied: UInt64) -> UInt64 {
        guard let first = entries.first, let last = entries.last,
            // Where a salvaged spool has lost how far it had come, nobody knows what should be there.
            applied > 0 || first.sequence == 1
        else { return 0 }
        var gaps: UInt64 = 0
        var expected = applied + 1
        for entry in entries {
            let end = min(entry.sequence, last.batch)
            if end > expected { gaps += end - expected }
            expected = max(expected, entry.sequence + 1)
        }
        return gaps
    }
}
