public import ElemtaSMTP

extension Configuration {
    /// Which domains a setting speaks of.
    public enum DomainPattern: Hashable, Sendable, CustomStringConvertible {
        /// `example.com`: this one.
        case exact(Domain)
        /// `.example.com`: every domain below it, not itself.
        case subdomains(of: Domain)
        /// `*`: all.
        case any

        public init?(_ text: String) {
            if text == "*" {
                self = .any
            } else if text.first == "." {
                guard let parent = Domain(String(text.dropFirst())), parent.addressLiteral == nil
                else { return nil }
                self = .subdomains(of: parent)
            } else {
                guard let domain = Domain(text) else { return nil }
                self = .exact(domain)
            }
        }

        public func matches(_ domain: Domain) -> Bool {
            switch self {
            case .exact(let name): domain == name
            case .subdomains(let parent): domain.isSubdomain(of: parent)
            case .any: true
            }
        }

        /// True when every domain that `other` matches is matched by this pattern too.
        public func covers(_ other: DomainPattern) -> Bool {
            switch (self, other) {
            case (.any, _): true
            case (_, .any): false
            case (_, .exact(let domain)): matches(domain)
            case (.exact, .subdomains): false
            case (.subdomains(let parent), .subdomains(let inner)):
                inner == parent || inner.isSubdomain(of: parent)
            }
        }

        public var description: String {
            switch self {
            case .exact(let domain): "\(domain)"
            case .subdomains(let parent): ".\(parent)"
            case .any: "*"
            }
        }
    }
}
