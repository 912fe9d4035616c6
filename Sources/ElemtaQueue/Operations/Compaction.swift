import Glibc

/// How large `spool.mdb` was and is, in octets.
public struct CompactionReport: Sendable, Hashable {
    public let before: UInt64
    public let after: UInt64
}

/// Makes `spool.mdb` as small as what is in it: LMDB uses pages again and never gives them back.
///
/// The new file holds as many records as the old one and is synced before it takes the place of the old one in one step:
/// whoever dies in between has the spool that he had.
enum Compaction {
    static let name = "compact.mdb"

    /// What somebody who died has left of a new file. For who holds the queue.
    static func removeLeftovers(in queue: String) throws(FileError) {
        try FileSystem.remove("\(queue)/\(name)")
    }

    static func run(_ store: SpoolStore, mapSize: Int?) throws(SpoolError) {
        let file = "\(store.path)/\(name)"
        do throws(SpoolError) {
            try copy(store, to: file)
            let copy = try SpoolStore(
                path: store.path, name: name, mapSize: mapSize, access: .alone)
            guard try copy.recordCounts() == store.recordCounts() else {
                throw .storage("the compacted copy isn't what the spool is")
            }
            copy.close()
        } catch {
            try? removeLeftovers(in: store.path)
            throw error
        }
        try store.exchange(for: file)
    }

    private static func copy(_ store: SpoolStore, to file: String) throws(SpoolError) {
        do throws(LMDBError) {
            try store.opened().environment.copyCompacted(to: file)
        } catch {
            throw SpoolError(store.explained(error))
        }
        do throws(FileError) {
            // LMDB leaves that to the umask.
            guard unsafe chmod(file, 0o600) == 0 else {
                throw FileError(operation: "chmod \(file)", code: errno)
            }
            try OpenFile(file, O_RDWR).sync()
        } catch {
            throw error.spoolError
        }
    }
}

extension SpoolStore {
    /// How many records each table has.
    fileprivate func recordCounts() throws(SpoolError) -> [Int] {
        try reading { transaction, tables throws(SpoolError) in
            var counts: [Int] = []
            do throws(LMDBError) {
                for table in [tables.envelope, tables.content, tables.removal, tables.state] {
                    counts.append(try transaction.count(of: table))
                }
            } catch {
                throw SpoolError(error)
            }
            return counts
        }
    }
}

extension Spool {
    /// Makes `spool.mdb` of a stopped server as small as what is in it. Takes as long as copying it,
    /// and as much room as it has then.
    ///
    /// - Throws: `.held` when a server or somebody else has the queue, `.noQueue`, `.unreadable` when
    ///   the spool is damaged (the server's next start salvages it), `.full`, `.storage`. The spool is
    ///   as it was then.
    public static func compact(_ options: SpoolOptions) throws(SpoolError) -> CompactionReport {
        let spool = try Spool.open(options, for: .changing)
        defer { spool.stop() }
        let before = spool.store.fileOctets
        try Compaction.run(spool.store, mapSize: options.mapSize)
        return CompactionReport(before: before, after: spool.store.fileOctets)
    }
}
