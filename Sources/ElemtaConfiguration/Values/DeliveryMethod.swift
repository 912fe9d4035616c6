extension Configuration {
    /// How a route delivers: its `deliver` URL, parsed.
    public enum DeliveryMethod: Hashable, Sendable, CustomStringConvertible {
        /// `smtp://host:port`; port 25 when left out.
        case smtp(NextHop)
        /// `lmtp://host:port`; a port is needed (RFC 2033 section 5 forbids 25 and names no other).
        case lmtp(NextHop)
        /// `lmtp+unix:///path`: an absolute path.
        case lmtpSocket(path: String)
        /// `maildir:///path/{domain}/{local}`: an absolute path; `{domain}` and `{local}` are put
        /// in per recipient.
        case maildir(template: String)
        /// `mx`: as the domain's MX records say.
        case mx
        /// `discard`: accepted, counted and thrown away.
        case discard

        public init?(_ text: String) {
            switch text {
            case "mx":
                self = .mx
                return
            case "discard":
                self = .discard
                return
            default:
                break
            }
            guard let mark = text.firstRange(of: "://") else { return nil }
            let rest = String(text[mark.upperBound...])
            switch text[..<mark.lowerBound] {
            case "smtp":
                guard let hop = NextHop(authority: rest, defaultPort: 25) else { return nil }
                self = .smtp(hop)
            case "lmtp":
                guard let hop = NextHop(authority: rest, defaultPort: nil), hop.port != 25
                else { return nil }
                self = .lmtp(hop)
            case "lmtp+unix":
                guard isAbsolutePath(rest), rest.last != "/" else { return nil }
                self = .lmtpSocket(path: rest)
            case "maildir":
                guard isAbsolutePath(rest), hasOnlyKnownPlaceholders(rest) else { return nil }
                self = .maildir(template: rest)
            default:
                return nil
            }
        }

        public var description: String {
            switch self {
            case .smtp(let hop): "smtp://\(authority(hop))"
            case .lmtp(let hop): "lmtp://\(authority(hop))"
            case .lmtpSocket(let path): "lmtp+unix://\(path)"
            case .maildir(let template): "maildir://\(template)"
            case .mx: "mx"
            case .discard: "discard"
            }
        }
    }
}

private func authority(_ hop: Configuration.NextHop) -> String {
    switch hop.host {
    case .address: hop.description
    case .name(let domain), .exchangers(let domain): "\(domain):\(hop.port)"
    }
}

private func isAbsolutePath(_ text: String) -> Bool {
    let components = text.split(separator: "/")
    return text.first == "/" && !components.isEmpty && !text.utf8.contains(0)
        && !components.contains("..") && !components.contains(".")
}

/// A misspelt placeholder would otherwise become a directory of that name, with all mail in it.
private func hasOnlyKnownPlaceholders(_ template: String) -> Bool {
    var rest = template[...]
    while let open = rest.firstIndex(where: { $0 == "{" || $0 == "}" }) {
        guard let known = ["{domain}", "{local}"].first(where: { rest[open...].hasPrefix($0) })
        else { return false }
        rest = rest[open...].dropFirst(known.count)
    }
    return true
}
