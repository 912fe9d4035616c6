import Glibc

/// `quarantine/`: what could not be read or doesn't belong, each thing with a `.reason` beside it.
/// Nothing is ever deleted from here by us.
struct Quarantine {
    let path: String

    init(directory: String) { path = directory + "/quarantine" }

    /// Writes `octets` under `name` and says why.
    ///
    /// - Returns: the path it has now.
    func keep(_ octets: [UInt8], as name: String, reason: String) throws(FileError) -> String {
        let target = freeName(name)
        let file = try OpenFile(target, O_WRONLY | O_CREAT | O_EXCL)
        try file.write(octets.span)
        try file.sync()
        try explain(target, reason)
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

    private func explain(_ target: String, _ reason: String) throws(FileError) {
        let file = try OpenFile(target + ".reason", O_WRONLY | O_CREAT | O_TRUNC)
        try file.write(Array((reason + "\n").utf8).span)
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
