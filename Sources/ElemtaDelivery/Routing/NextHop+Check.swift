import Glibc

extension NextHop {
    /// See `DeliveryRoute.obstacle`.
    var obstacle: String? {
        switch self {
        case .smtp, .discard: nil
        case .lmtp(let server):
            if case .socket(let path) = server.host, !Self.isKind(S_IFSOCK, path) {
                "there is no socket \(path)"
            } else {
                nil
            }
        case .maildir(let template):
            if !Self.isKind(S_IFDIR, template.root) {
                "there is no directory \(template.root)"
            } else if unsafe access(template.root, R_OK | W_OK | X_OK) != 0 {
                "the directory \(template.root) can't be written"
            } else {
                nil
            }
        }
    }

    private static func isKind(_ kind: mode_t, _ path: String) -> Bool {
        var status = stat()
        // Safe because `status` is a local of the right type.
        return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == kind
    }
}
