/// A mailbox of RFC 5321 4.1.2 as its sender wrote it, without a source route.
public struct Mailbox: Hashable, Sendable {
    /// Local-part, `@` and domain, as written.
    public let octets: [UInt8]
    /// How many of `octets` are the local-part (a quoted one with its quotes).
    public let localPartCount: Int

    /// Reads the whole grammar: dot-string or quoted-string, domain or address literal, and the
    /// UTF-8 of RFC 6531.
    public init?(_ text: String) {
        let octets = Array(text.utf8)
        self.init(octets: octets.span)
    }

    /// As `init(_:)`, over the whole of `text`.
    public init?(octets text: Span<UInt8>) {
        guard let (end, localPartEnd) = Grammar.mailbox(text, 0), end == text.count
        else { return nil }
        self.init(text, 0..<end, localPartEnd: localPartEnd)
    }

    /// `range` of `text` has been found to be a mailbox.
    init(_ text: Span<UInt8>, _ range: Range<Int>, localPartEnd: Int) {
        octets = text.octets(range)
        localPartCount = localPartEnd - range.lowerBound
    }

    /// The mailbox of a local-part and a domain, nil when they don't make one.
    public init?(localPart: some Sequence<UInt8>, domain: Domain) {
        let octets = Array(localPart) + [.at] + Array(domain.description.utf8)
        self.init(octets: octets.span)
    }

    public var localPart: ArraySlice<UInt8> { octets[..<localPartCount] }

    /// The local-part as mailboxes of one domain are told apart: without quotes and backslashes
    /// (RFC 5321 4.1.2 makes `"alice"` and `alice` the same), ASCII letters in lower case. RFC 5321 2.4
    /// lets case matter to the domain itself; in practice it matters nowhere.
    public var comparedLocalPart: [UInt8] {
        guard localPart.first == .quote else { return localPart.map(\.lowercased) }
        var compared: [UInt8] = []
        var isEscaped = false
        for octet in localPart.dropFirst().dropLast() {
            if octet == .backslash, !isEscaped {
                isEscaped = true
                continue
            }
            isEscaped = false
            compared.append(octet.lowercased)
        }
        return compared
    }

    /// `postmaster` in any case: RFC 5321 4.5.1 has every domain take mail for it.
    public var isPostmaster: Bool { comparedLocalPart == Array("postmaster".utf8) }

    /// The domain as it is compared. Allocates: for policy, not for loops.
    public var domain: Domain {
        Domain(checked: octets.span.extracting((localPartCount + 1)..<octets.count))
    }

    /// Any octet above 127: only a next hop with SMTPUTF8 (RFC 6531) can take it.
    public var isInternationalized: Bool { octets.contains(where: \.isEightBit) }
}

extension Mailbox: CustomStringConvertible {
    public var description: String { String(decoding: octets, as: UTF8.self) }
}
