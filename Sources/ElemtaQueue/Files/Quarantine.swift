import Glibc

/// `quarantine/`: what could not be read or doesn't belong, each thing with a `.reason` beside it.
/// Nothing is ever deleted from here by us.
struct Quarantine {
    let path: String

    init(directory: String) { path = directory + "/quarantine" }

    /// Writes `octets` under `name` and says why.
    ///
    /// - Parameter isSynced: false where the octets are safe elsewhere.
    /// - Returns: the path it has now.
    func keep(
        _ octets: [UInt8], as name: String, reason: String, isSynced: Bool = true
    ) throws(FileError) -> String {
        let target = freeName(name)
        let file = try OpenFile(target, O_WRONLY | O_CREAT | O_EXCL)
        try file.write(octets.span)
        if isSynced { try file.sync() }
        try explain(target, reason, isSynced: isSynced)
        return target
    }

    /// Gives a file a second name here and says why.
    func link(_ source: String, as name: String, reason: String) throws(FileError) -> String {
        let target = freeName(name)
        try explain(target, reason)
        guard unsafe Glibc.link(source, target) == 0 else {
            throw FileError(operation: "link \(source) to \(target)", code: errno)
        }
        try FileSystem.syncDirectory(path)
        return target
    }

    /// Moves a file here and says why.
    func move(_ source: String, as name: String, reason: String) throws(FileError) -> String {
        let target = freeName(name)
        // The reason first: a crash in between leaves a reason too many rather than one too few.
        try explain(target, reason)
        try FileSystem.move(source, to: target)
        try FileSystem.syncDirectory(path)
        return target
    }

    private func explain(
        _ target: String, _ reason: String, isSynced: Bool = true
    ) throws(FileError) {
        let file = try OpenFile(target + ".reason", O_WRONLY | O_CREAT | O_TRUNC)
        try file.write(Array((reason + "\n").utf8).span)
        guard isSynced else { return }
        try file.sync()
        try FileSystem.syncDirectory(path)
    }

    private func freeName(_ name: String) -> String {
        var target = "\(path)/\(name)"
        var number = 1
        while FileSystem.exists(target) {
            target = "\(path)/\(name).\(number)"
            number += 1
        }
        return target
    }
}
