/// Some octets that are kept for long and are mostly few: up to 22 take no allocation, which would be
/// 64 octets for any of them.
enum ShortOctets {
    case few(InlineArray<22, UInt8>, count: UInt8)
    case many([UInt8])

    init(_ octets: [UInt8]) {
        var few = InlineArray<22, UInt8>(repeating: 0)
        guard octets.count <= few.count else {
            self = .many(octets)
            return
        }
        for position in octets.indices { few[position] = octets[position] }
        self = .few(few, count: UInt8(octets.count))
    }

    var octets: [UInt8] {
        switch self {
        case .few(let few, let count): (0..<Int(count)).map { few[$0] }
        case .many(let octets): octets
        }
    }
}
