import COpenSSL
import Glibc

/// Why a ``TLSServerContext`` or a ``TLSClientContext`` can't be made. Says which file is at fault,
/// never what is in it.
public enum TLSContextError: Error, Hashable, Sendable, CustomStringConvertible {
    case missing(file: String)
    /// `open` failed with `code`, or the path is no file (`EISDIR`, `ENOTSUP`).
    case unreadable(file: String, code: Int32)
    /// No PEM certificate, or one that OpenSSL refuses, as for a key of too few bits.
    case noCertificate(file: String, reason: String)
    case noKey(file: String, reason: String)
    /// The private key is protected by a passphrase, which a server has nobody to ask for.
    case encryptedKey(file: String)
    /// The private key isn't the one of the certificate.
    case mismatch(keyFile: String, certificateFile: String)
    /// No certificate authorities to check peers against.
    case noAuthorities(file: String, reason: String)
    /// OpenSSL refused something that doesn't come from a file: out of memory, or a build of it
    /// that lacks what was asked for.
    case openSSL(call: String, reason: String)

    public var description: String {
        switch self {
        case .missing(let file): "\(file) doesn't exist"
        case .unreadable(let file, let code):
            "\(file) can't be read: \(ReactorError("open", code: code))"
        case .noCertificate(let file, let reason): "\(file) holds no usable certificate: \(reason)"
        case .noKey(let file, let reason): "\(file) holds no usable private key: \(reason)"
        case .encryptedKey(let file): "\(file): the private key is protected by a passphrase"
        case .mismatch(let keyFile, let certificateFile):
            "the private key in \(keyFile) doesn't belong to the certificate in \(certificateFile)"
        case .noAuthorities(let file, let reason):
            "\(file) holds no certificate authorities: \(reason)"
        case .openSSL(let call, let reason): "\(call): \(reason)"
        }
    }

    /// Tells a file that isn't there from one that may not be read, which OpenSSL doesn't.
    static func check(_ file: String) throws(TLSContextError) {
        let number = unsafe open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard number >= 0 else {
            throw errno == ENOENT ? .missing(file: file) : .unreadable(file: file, code: errno)
        }
        let descriptor = OwnedDescriptor(taking: number)
        var status = stat()
        // Safe because `status` is a local of the right type.
        guard unsafe fstat(descriptor.number, &status) == 0 else {
            throw .unreadable(file: file, code: errno)
        }
        // Reading a pipe could take for ever.
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFDIR: throw .unreadable(file: file, code: EISDIR)
        default: throw .unreadable(file: file, code: ENOTSUP)
        }
    }
}

/// OpenSSL's queue of errors: one per thread, oldest first. Whoever looks empties it, so that the
/// next call's failure isn't explained by this one's.
enum OpenSSLErrors {
    /// What the oldest error says, the one the others follow from. Empties the queue.
    static func takeReason() -> String {
        let code = ERR_get_error()
        ERR_clear_error()
        return reason(of: code)
    }

    static func reason(of code: UInt) -> String {
        // Safe because OpenSSL's texts are constants that end with a NUL.
        guard code != 0, let text = unsafe ERR_reason_error_string(code) else {
            return "no reason given"
        }
        return unsafe String(cString: text)
    }
}
