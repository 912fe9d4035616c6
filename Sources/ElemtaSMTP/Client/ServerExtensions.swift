/// What a server offered in its EHLO reply (RFC 5321 4.1.1.1), as far as Elemta uses it.
public struct ServerExtensions: Hashable, Sendable {
    public var pipelining = false
    public var eightBitMIME = false
    public var smtputf8 = false
    public var dsn = false
    public var chunking = false
    public var binaryMIME = false
    public var enhancedStatusCodes = false
    public var startTLS = false
    public var requireTLS = false
    /// The mechanisms of AUTH, as far as Elemta knows them; nil: no AUTH (RFC 4954 3).
    public var mechanisms: Set<SASLMechanism>?
    public var size = SizeLimit.notOffered

    /// RFC 1870 4: the largest message the server takes, in octets.
    public enum SizeLimit: Hashable, Sendable {
        case notOffered
        /// SIZE without a number, with 0, or with one that no message reaches.
        case unlimited
        case octets(UInt64)
    }

    public init() {}

    /// Reads the lines after the first, `ehlo-keyword *( SP ehlo-param )`; keywords are compared
    /// without case, unknown ones passed over.
    init(of reply: RemoteReply) {
        for line in reply.text.split(separator: UInt8(ascii: "\n")).dropFirst() {
            let words = line.split(separator: UInt8(ascii: " "))
            guard let keyword = words.first else { continue }
            switch String(decoding: keyword, as: UTF8.self).uppercased() {
            case "PIPELINING": pipelining = true
            case "8BITMIME": eightBitMIME = true
            case "SMTPUTF8": smtputf8 = true
            case "DSN": dsn = true
            case "CHUNKING": chunking = true
            case "BINARYMIME": binaryMIME = true
            case "ENHANCEDSTATUSCODES": enhancedStatusCodes = true
            case "STARTTLS": startTLS = true
            case "REQUIRETLS": requireTLS = true
            case "AUTH":
                let names = words.dropFirst().map { String(decoding: $0, as: UTF8.self) }
                mechanisms = (mechanisms ?? []).union(
                    names.compactMap { SASLMechanism(rawValue: $0.uppercased()) })
            case "SIZE":
                let limit = words.dropFirst().first.flatMap {
                    UInt64(String(decoding: $0, as: UTF8.self))
                }
                size = limit.flatMap { $0 == 0 ? nil : .octets($0) } ?? .unlimited
            default: continue
            }
        }
    }
}
