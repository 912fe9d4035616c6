/// What the header section of a MIME entity says about its body (RFC 2045 2.4).
struct MIMEEntity: Sendable {
    /// What the body is made of.
    enum Body: Hashable, Sendable {
        /// Octets that may be encoded.
        case leaf
        /// Entities between boundaries (RFC 2046 5.1). In a digest they are messages unless they say
        /// otherwise (5.1.5).
        case multipart(boundary: [UInt8], isDigest: Bool)
        /// One message, with a header section of its own (RFC 2046 5.2.1).
        case message
        /// Something that may not be encoded (RFC 2045 6.4) and isn't looked into.
        case closed
    }

    /// RFC 2045 6.
    enum TransferEncoding: Hashable, Sendable {
        /// 7bit, or no word about it.
        case sevenBit
        /// 8bit or binary: to be called otherwise in content of 7 bits.
        case eightBit, binary
        case quotedPrintable, base64
        case unknown

        init(_ value: some Sequence<UInt8>) {
            let ends: [UInt8] = [.space, .tab, .semicolon, UInt8(ascii: "(")]
            let word = value.drop { $0 == .space || $0 == .tab }
                .prefix { !ends.contains($0) }.map(\.lowercased)
            switch String(decoding: word, as: UTF8.self) {
            case "", "7bit": self = .sevenBit
            case "8bit": self = .eightBit
            case "binary": self = .binary
            case "quoted-printable": self = .quotedPrintable
            case "base64": self = .base64
            default: self = .unknown
            }
        }

        var isIdentity: Bool {
            switch self {
            case .sevenBit, .eightBit, .binary: true
            case .quotedPrintable, .base64, .unknown: false
            }
        }
    }

    /// Counted in the order in which header sections begin, from 0.
    let index: Int
    var body = Body.leaf
    var encoding = TransferEncoding.sevenBit
    /// A whole message rather than a part of one: the one that is being read, or one inside it.
    let isMessage: Bool
    var hasVersion = false
    var hasType = false
    var hasEncoding = false
    /// There was a line that is no header field. Where the body begins is for each reader to guess.
    var isMalformed = false
}

/// A Content-Type value (RFC 2045 5.1): as much of it as says what the body is made of.
struct MIMEType {
    let type: String
    let subtype: String
    /// Nil: none, or one that can't be read.
    let boundary: [UInt8]?

    /// Nil for what is no `type "/" subtype`.
    init?(_ value: [UInt8]) {
        var reader = Reader(value)
        guard let type = reader.token(), reader.take(UInt8(ascii: "/")),
            let subtype = reader.token()
        else { return nil }
        self.type = type
        self.subtype = subtype
        var boundary: [UInt8]?
        // Nobody means two; the first is what most readers take.
        while boundary == nil, reader.skip(past: .semicolon) {
            guard let name = reader.token(), reader.take(.equals) else { continue }
            let value = reader.value()
            if name == "boundary" { boundary = value }
        }
        self.boundary = boundary.flatMap { $0.isEmpty ? nil : $0 }
    }

    private struct Reader {
        private let octets: [UInt8]
        private var position = 0

        init(_ octets: [UInt8]) { self.octets = octets }

        private var next: UInt8? { position < octets.count ? octets[position] : nil }

        /// Blanks and comments, which may hold comments (RFC 5322 3.2.2).
        private mutating func skipBlanks() {
            var depth = 0
            while let octet = next {
                if octet == UInt8(ascii: "(") {
                    depth += 1
                } else if octet == UInt8(ascii: ")"), depth > 0 {
                    depth -= 1
                } else if octet == .backslash, depth > 0 {
                    position += 1
                } else if depth == 0, octet != .space, octet != .tab {
                    return
                }
                position += 1
            }
        }

        mutating func take(_ octet: UInt8) -> Bool {
            skipBlanks()
            guard next == octet else { return false }
            position += 1
            return true
        }

        /// In lower case; nil: there is none.
        mutating func token() -> String? {
            skipBlanks()
            let start = position
            while let octet = next, Self.isToken(octet) { position += 1 }
            guard position > start else { return nil }
            return String(decoding: octets[start..<position].map(\.lowercased), as: UTF8.self)
        }

        /// A token or a quoted string. Tokens may hold what RFC 2045 would have quoted: many do.
        mutating func value() -> [UInt8] {
            skipBlanks()
            guard next == .quote else {
                let start = position
                while let octet = next, octet != .semicolon, octet != .space, octet != .tab {
                    position += 1
                }
                return Array(octets[start..<position])
            }
            position += 1
            var value: [UInt8] = []
            while let octet = next, octet != .quote {
                if octet == .backslash { position += 1 }
                if let octet = next { value.append(octet) }
                position += 1
            }
            position += 1
            return value
        }

        /// Over whatever stands before `octet`, quoted strings as a whole.
        mutating func skip(past octet: UInt8) -> Bool {
            skipBlanks()
            while let found = next {
                if found == octet {
                    position += 1
                    return true
                }
                if found == .quote { _ = value() } else { position += 1 }
                skipBlanks()
            }
            return false
        }

        private static func isToken(_ octet: UInt8) -> Bool {
            switch octet {
            case UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "<"), UInt8(ascii: ">"),
                UInt8(ascii: "@"), .comma, .semicolon, .colon, .backslash, .quote,
                UInt8(ascii: "/"), .openBracket, .closeBracket, UInt8(ascii: "?"), .equals:
                false
            default: octet > 32 && octet < 127
            }
        }
    }
}
