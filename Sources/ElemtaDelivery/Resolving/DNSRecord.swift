import ElemtaSMTP

/// The record types that finding a mail server takes, with their numbers (RFC 1035 3.2.2, RFC 3596
/// 2.1).
enum DNSRecordType: Int32, Sendable {
    case address = 1
    case mailExchanger = 15
    case address6 = 28
}

enum DNSRecord: Hashable, Sendable {
    case address(IPAddress)
    /// `host` nil: the root, which says that the domain takes no mail (RFC 7505 3).
    case mailExchanger(preference: UInt16, host: String?)

    /// Reads the uncompressed data of one record; nil for what isn't of the type or names a host
    /// that no host can be called.
    init?(_ type: DNSRecordType, data: Span<UInt8>) {
        switch type {
        case .address:
            guard data.count == 4 else { return nil }
            self = .address(IPAddress(v4: UInt32(truncatingIfNeeded: Self.integer(data, 0..<4))))
        case .address6:
            guard data.count == 16 else { return nil }
            let address = IPAddress(
                v6High: Self.integer(data, 0..<8), v6Low: Self.integer(data, 8..<16))
            self = .address(address.unmapped)
        case .mailExchanger:
            guard data.count >= 3, let name = Self.name(data, from: 2) else { return nil }
            self = .mailExchanger(
                preference: UInt16(truncatingIfNeeded: Self.integer(data, 0..<2)),
                host: name.isEmpty ? nil : name)
        }
    }

    private static func integer(_ data: Span<UInt8>, _ range: Range<Int>) -> UInt64 {
        var value: UInt64 = 0
        for index in range { value = value << 8 | UInt64(data[index]) }
        return value
    }

    /// RFC 1035 3.1: labels, each after its length, the last one empty. Only letters, digits,
    /// hyphens and underscores are taken: what comes from DNS is printed and asked for again.
    private static func name(_ data: Span<UInt8>, from start: Int) -> String? {
        var text: [UInt8] = []
        var index = start
        while index < data.count {
            let count = Int(data[index])
            if count == 0 { return String(decoding: text, as: UTF8.self) }
            guard count <= 63, index + count < data.count else { return nil }
            if !text.isEmpty { text.append(UInt8(ascii: ".")) }
            for position in index + 1...index + count {
                switch data[position] {
                case UInt8(ascii: "A")...UInt8(ascii: "Z"): text.append(data[position] | 0x20)
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: "-"), UInt8(ascii: "_"):
                    text.append(data[position])
                default: return nil
                }
            }
            index += count + 1
        }
        return nil
    }
}

/// What DNS said to one question.
enum DNSAnswer: Hashable, Sendable {
    /// Not empty, unless all records were unreadable.
    case records([DNSRecord], secondsToLive: Int)
    /// The name is there, with no record of this type.
    case noRecords
    /// NXDOMAIN.
    case noSuchName
    /// No answer, or one that says nothing about the name.
    case failure(String)
}
