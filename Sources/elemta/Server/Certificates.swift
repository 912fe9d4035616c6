import ElemtaConfiguration
import ElemtaReactor
import ElemtaSMTP
import Glibc
import Logging

/// The certificates of the listeners: loaded at the start, and again when SIGHUP or the files say
/// so. Reactor thread only.
///
/// Each pair of files is reloaded by itself: one that was spoiled keeps the certificate that was
/// loaded before, and keeps no other from being renewed.
final class Certificates {
    /// For sessions that begin now; those that live keep theirs.
    private(set) var context: TLSServerContext
    private var pairs: [Pair]
    private let minimum: TLSVersion
    private let log: Logger
    /// The same as long as the server runs, so that tickets outlive a reload.
    let ticketKeys: TLSTicketKeys

    /// A certificate in use, and what is known about its files.
    fileprivate struct Pair: Sendable {
        var certificate: TLSServerCertificate
        /// What the files were when it was loaded.
        var identity: PairIdentity
        var refusal = Refusal.none
    }

    /// Why files that have changed since aren't in use.
    fileprivate enum Refusal: Sendable {
        case none
        /// Perhaps one file of the pair is replaced and the other is about to be: nobody was told.
        case once(TLSContextError)
        /// It stayed so; the log has it.
        case logged(TLSContextError)
    }

    /// What was read of the files, on whatever thread, and isn't in use yet.
    struct Loaded: Sendable {
        fileprivate var pairs: [Pair] = []
        fileprivate let minimum: TLSVersion
        fileprivate let ticketKeys: TLSTicketKeys

        /// Loads every pair of `tls`. Blocks.
        ///
        /// - Parameter ticketKeys: of those whose sessions are to be resumed.
        init(
            _ tls: Configuration.TLS, ticketKeys: TLSTicketKeys = TLSTicketKeys()
        ) throws(CertificatesError) {
            minimum = TLSVersion(tls.minVersion)
            self.ticketKeys = ticketKeys
            var errors: [TLSContextError] = []
            for files in tls.pairs {
                // Looked at before, so that a change while it is read is one that is seen.
                let identity = PairIdentity(files)
                do throws(TLSContextError) {
                    let certificate = try TLSServerCertificate(
                        files, minimum: minimum, ticketKeys: ticketKeys)
                    pairs.append(Pair(certificate: certificate, identity: identity))
                } catch {
                    errors.append(error)
                }
            }
            guard errors.isEmpty else { throw CertificatesError(causes: errors) }
        }
    }

    /// Loads every pair of `tls`.
    convenience init(_ tls: Configuration.TLS, log: Logger) throws(CertificatesError) {
        self.init(try Loaded(tls), log: log)
    }

    /// A certificate whose time is over, or hasn't come, is a warning.
    init(_ loaded: Loaded, log: Logger) {
        self.log = log
        minimum = loaded.minimum
        ticketKeys = loaded.ticketKeys
        pairs = loaded.pairs
        context = TLSServerContext(pairs.map(\.certificate))
        for pair in pairs { warn(of: pair.certificate) }
    }

    /// In the order of the configuration.
    var certificates: [TLSServerCertificate] { context.certificates }

    /// Loads the pairs of which a file has changed. For a timer: two stat(2) a pair when nothing
    /// has.
    ///
    /// The files of a pair are replaced one after the other, so what can't be loaded is tried again
    /// at each call, and logged, once, when it is the same at two of them.
    func reloadIfChanged() {
        var isChanged = false
        for index in pairs.indices {
            guard PairIdentity(pairs[index].certificate.files) != pairs[index].identity else {
                // What was there came back.
                pairs[index].refusal = .none
                continue
            }
            let before = pairs[index].refusal
            guard let error = load(index) else {
                isChanged = true
                continue
            }
            switch before {
            case .once(error): refuse(index, error)
            case .logged(error): break
            case .none, .once, .logged: pairs[index].refusal = .once(error)
            }
        }
        if isChanged { context = TLSServerContext(pairs.map(\.certificate)) }
    }

    /// Nil when the pair is loaded, and then logged; otherwise nothing has changed.
    private func load(_ index: Int) -> TLSContextError? {
        let files = pairs[index].certificate.files
        let identity = PairIdentity(files)
        do throws(TLSContextError) {
            let certificate = try TLSServerCertificate(
                files, minimum: minimum, ticketKeys: ticketKeys)
            pairs[index] = Pair(certificate: certificate, identity: identity)
            tell(of: certificate)
            warn(of: certificate)
            return nil
        } catch {
            return error
        }
    }

    /// For the log: what is in use from now on.
    func tellOfAll() {
        for certificate in certificates { tell(of: certificate) }
    }

    private func tell(of certificate: TLSServerCertificate) {
        log.write(
            .certificateLoaded,
            [
                .file: "\(certificate.files.certificateFile)",
                .notAfter: "\(certificate.lastSecond)",
            ])
    }

    private func refuse(_ index: Int, _ error: TLSContextError) {
        pairs[index].refusal = .logged(error)
        log.write(
            .certificateRefused,
            [
                .file: "\(pairs[index].certificate.files.certificateFile)", .error: "\(error)",
                .note: "the one loaded before stays in use",
            ])
    }

    private func warn(of certificate: TLSServerCertificate) {
        let file = certificate.files.certificateFile
        switch certificate.validity(at: Int64(time(nil))) {
        case .valid: break
        case .expired(let time):
            log.write(.certificateExpired, [.file: "\(file)", .notAfter: "\(time)"])
        case .notYetValid(let time):
            log.write(.certificateNotYetValid, [.file: "\(file)", .notBefore: "\(time)"])
        }
    }
}

/// Why certificates of the configuration can't be loaded: all of the reasons, each of which names
/// the file at fault.
struct CertificatesError: Error, CustomStringConvertible {
    let causes: [TLSContextError]

    var description: String { causes.map(\.description).joined(separator: "; ") }
}

extension TLSServerCertificate {
    /// What its dates say.
    enum Validity: Equatable {
        case valid
        /// Since then.
        case expired(String)
        /// Until then.
        case notYetValid(String)
    }

    /// The last second in which it is valid.
    var lastSecond: String { UnixTime(seconds: notAfter).rfc3339 }

    /// `now` in seconds since 1970, UTC.
    func validity(at now: Int64) -> Validity {
        if notAfter < now { return .expired(lastSecond) }
        if notBefore > now { return .notYetValid(UnixTime(seconds: notBefore).rfc3339) }
        return .valid
    }
}

/// What tells two files at their paths from others: cheap to ask for, and different after every way
/// of replacing, rewriting or allowing to read a file.
private struct PairIdentity: Equatable, Sendable {
    private let certificate: FileIdentity
    private let key: FileIdentity

    init(_ files: TLSCertificateFiles) {
        certificate = FileIdentity(files.certificateFile)
        key = FileIdentity(files.keyFile)
    }
}

private enum FileIdentity: Equatable, Sendable {
    case file(device: UInt, inode: UInt, size: Int, modified: Instant, changed: Instant)
    /// stat(2) failed with this error.
    case absent(Int32)

    /// A `timespec`, to compare.
    struct Instant: Equatable, Sendable {
        let seconds: Int
        let nanoseconds: Int

        init(_ time: timespec) {
            seconds = time.tv_sec
            nanoseconds = time.tv_nsec
        }
    }

    init(_ path: String) {
        var status = stat()
        // Safe because `status` is a local of the right type.
        guard unsafe stat(path, &status) == 0 else {
            self = .absent(errno)
            return
        }
        // With the time of the last change of the inode, since `cp --preserve` and chmod(1) leave
        // the others as they were.
        self = .file(
            device: UInt(status.st_dev), inode: UInt(status.st_ino), size: Int(status.st_size),
            modified: Instant(status.st_mtim), changed: Instant(status.st_ctim))
    }
}

extension TLSVersion {
    init(_ version: Configuration.TLS.Version) {
        switch version {
        case .tls12: self = .v12
        case .tls13: self = .v13
        }
    }
}

extension Configuration.TLS {
    /// The first pair, and those chosen by name.
    var pairs: [TLSCertificateFiles] {
        [TLSCertificateFiles(certificateFile: certFile, keyFile: keyFile)]
            + certificates.map {
                TLSCertificateFiles(certificateFile: $0.certFile, keyFile: $0.keyFile)
            }
    }
}
