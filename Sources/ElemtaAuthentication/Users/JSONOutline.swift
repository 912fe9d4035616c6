/// Where things are in a JSON text (RFC 8259), which the decoder doesn't tell, and what it lets
/// pass: doubled keys and any depth.
///
/// One pass, linear in the size of the text. Texts of strings and numbers aren't looked into, save
/// keys: what is wrong inside of them the decoder finds.
struct JSONOutline {
    struct Failure: Error, Equatable {
        let line: Int
        let text: String
    }

    struct Key: Equatable {
        let name: String
        let line: Int
    }

    /// `{"users": [{"allowed_senders": [...]}]}` is four deep.
    static let maximumDepth = 8

    /// The keys of the outermost object, in the order of the file, doubled ones twice.
    private(set) var keys: [Key] = []
    /// Lines in which the elements of a list at the outermost object's `users` begin.
    private(set) var userLines: [Int] = []
    /// Keys that stand twice in one object, at their second place; the outermost object's not.
    private(set) var doubled: [Key] = []
    /// Whether the outermost object has a list at `users`.
    private(set) var hasUserList = false

    private let octets: [UInt8]
    private var place = 0
    private var line = 1
    /// Decodes the text of a string, with its quotes.
    private let decode: (ArraySlice<UInt8>) -> String?

    init(
        _ octets: [UInt8], decode: @escaping (ArraySlice<UInt8>) -> String?
    ) throws(Failure) {
        self.octets = octets
        self.decode = decode
        try readValue(depth: 0, isUserList: false)
        if peek() != nil { throw unexpected() }
    }

    /// The next octet that isn't blank; stays before it.
    private mutating func peek() -> UInt8? {
        while place < octets.count, isBlank(octets[place]) {
            if octets[place] == UInt8(ascii: "\n") { line += 1 }
            place += 1
        }
        return place < octets.count ? octets[place] : nil
    }

    private mutating func skips(_ character: Unicode.Scalar) -> Bool {
        guard peek() == UInt8(ascii: character) else { return false }
        place += 1
        return true
    }

    private func unexpected() -> Failure {
        Failure(line: line, text: place < octets.count ? "is not JSON" : "ends in the middle")
    }

    private mutating func readValue(depth: Int, isUserList: Bool) throws(Failure) {
        switch peek() {
        case UInt8(ascii: "{"): try readObject(depth: depth + 1)
        case UInt8(ascii: "["): try readList(depth: depth + 1, isUserList: isUserList)
        case UInt8(ascii: "\""): _ = try readString()
        default:
            let start = place
            while place < octets.count, Self.isScalar(octets[place]) { place += 1 }
            if place == start { throw unexpected() }
        }
    }

    /// What numbers, `true`, `false` and `null` are made of.
    private static func isScalar(_ octet: UInt8) -> Bool {
        switch octet {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "E"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    private mutating func readList(depth: Int, isUserList: Bool) throws(Failure) {
        try enter(depth)
        if isUserList { hasUserList = true }
        if skips("]") { return }
        repeat {
            _ = peek()
            if isUserList { userLines.append(line) }
            try readValue(depth: depth, isUserList: false)
        } while skips(",")
        if !skips("]") { throw unexpected() }
    }

    private mutating func readObject(depth: Int) throws(Failure) {
        try enter(depth)
        if skips("}") { return }
        var seen: Set<String> = []
        repeat {
            guard peek() == UInt8(ascii: "\"") else { throw unexpected() }
            let keyLine = line
            guard let name = decode(try readString()) else {
                throw Failure(line: keyLine, text: "is not JSON")
            }
            let key = Key(name: name, line: keyLine)
            if depth == 1 {
                keys.append(key)
            } else if !seen.insert(name).inserted {
                doubled.append(key)
            }
            guard skips(":") else { throw unexpected() }
            try readValue(depth: depth, isUserList: depth == 1 && name == "users")
        } while skips(",")
        if !skips("}") { throw unexpected() }
    }

    private mutating func enter(_ depth: Int) throws(Failure) {
        guard depth <= Self.maximumDepth else {
            throw Failure(
                line: line, text: "is nested too deep; allowed: \(Self.maximumDepth) levels")
        }
        place += 1
    }

    /// From quote to quote. No string of JSON holds a line feed.
    private mutating func readString() throws(Failure) -> ArraySlice<UInt8> {
        let start = place
        place += 1
        while place < octets.count {
            switch octets[place] {
            case UInt8(ascii: "\""):
                place += 1
                return octets[start..<place]
            case UInt8(ascii: "\\"): place += 2
            case 0..<0x20: throw unexpected()
            default: place += 1
            }
        }
        throw unexpected()
    }
}
