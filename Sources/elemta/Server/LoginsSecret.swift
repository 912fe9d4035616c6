import ElemtaConfiguration
import Glibc

/// Why a secret can't be read from its file. Never says what is in it.
struct SecretFileError: Error, CustomStringConvertible {
    let path: String
    let reason: String

    var description: String { "\(path): \(reason)" }
}

extension SecretSource {
    /// Octets of a secret's file: 64 KiB.
    private static let maximumCount = 1 << 16

    /// The secret; nil where none is configured. The line end after it, which editors leave, isn't
    /// part of it.
    func read() throws(SecretFileError) -> Secret? {
        switch self {
        case .none: return nil
        case .given(let secret): return secret
        case .file(let path): return try Self.read(path)
        }
    }

    /// Only a regular file is read: O_NONBLOCK keeps a FIFO without a writer from holding the
    /// thread.
    private static func read(_ path: String) throws(SecretFileError) -> Secret {
        let descriptor = unsafe open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw SecretFileError(path: path, reason: "cannot be read: \(lastErrorText())")
        }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw SecretFileError(path: path, reason: "is no file")
        }
        var octets: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: maximumCount)
        while octets.count <= maximumCount {
            let count = Descriptors.read(descriptor, into: &piece)
            guard count >= 0 else {
                throw SecretFileError(path: path, reason: "cannot be read: \(lastErrorText())")
            }
            if count == 0 { return try secret(octets, path) }
            octets.append(contentsOf: piece.prefix(count))
        }
        throw SecretFileError(
            path: path, reason: "is too large; allowed: at most \(maximumCount) octets")
    }

    private static func secret(
        _ octets: [UInt8], _ path: String
    ) throws(SecretFileError) -> Secret {
        var content = octets[...]
        if content.last == UInt8(ascii: "\n") { content.removeLast() }
        if content.last == UInt8(ascii: "\r") { content.removeLast() }
        guard !content.isEmpty else {
            throw SecretFileError(path: path, reason: "is empty; allowed: the secret")
        }
        guard let text = String(validating: content, as: UTF8.self) else {
            throw SecretFileError(path: path, reason: "found octets that are not UTF-8")
        }
        return Secret(text)
    }
}

/// False, too, for what can't be looked at.
func isReadByEverybody(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0 && status.st_mode & S_IROTH != 0
}
