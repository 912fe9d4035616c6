import ElemtaAuthentication
import Glibc

/// Asks for passwords: on the terminal without an echo, else from the first line of standard input.
enum PasswordPrompt {
    static func password(for name: String) throws -> Password {
        guard isatty(STDIN_FILENO) == 1 else { return try fromInput() }
        return try ask("Password: ")
    }

    /// On a terminal asked for twice, since nobody sees what he types.
    static func newPassword(for name: String) throws -> Password {
        guard isatty(STDIN_FILENO) == 1 else { return try fromInput() }
        let first = try ask("New password: ")
        guard try ask("Again: ").isEqual(to: first) else {
            complain("these are two passwords")
            throw ExitStatus.dataError.code
        }
        return first
    }

    private static func ask(_ prompt: String) throws -> Password {
        // Safe because getpass answers a C string of its own, which is overwritten once it is read.
        guard let text = unsafe getpass(prompt) else {
            complain("no password could be read")
            throw ExitStatus.dataError.code
        }
        let length = unsafe strlen(text)
        defer { unsafe explicit_bzero(text, length) }
        let octets = unsafe UnsafeBufferPointer<CChar>(start: text, count: length)
        return unsafe Password(octets.map { UInt8(bitPattern: $0) })
    }

    private static func fromInput() throws -> Password {
        var line: [UInt8] = []
        var octet: [UInt8] = [0]
        // One at a time: what follows the line is somebody else's.
        while line.count <= Password.maximumCount {
            let count = Descriptors.read(STDIN_FILENO, into: &octet)
            guard count == 1, octet[0] != UInt8(ascii: "\n") else { break }
            line.append(octet[0])
        }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        guard !line.isEmpty else {
            complain("standard input has no password in its first line")
            throw ExitStatus.dataError.code
        }
        return Password(line)
    }
}
