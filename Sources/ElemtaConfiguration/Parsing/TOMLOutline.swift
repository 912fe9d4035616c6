/// A walk over TOML text that knows strings, comments, brackets and keys: how deep tables are nested,
/// whether a NUL is hidden in an escape, and in which line each key stands.
///
/// It is a gate too. toml++ ends the process, by an assertion or by nesting its tables deeper than
/// the stack, where other parsers report an error: text whose structure this walk doesn't understand
/// is not given to it. What a value means is left to toml++.
struct TOMLOutline: ~Copyable {
    struct Refusal: Error {
        let line: Int
        let text: String
    }

    /// The line of each key and list element, by path: `delivery.routes[0].domain`.
    private(set) var lines: [String: Int] = [:]
    private let octets: [UInt8]
    private var place = 0
    private var line = 1
    private var values = 0
    private var dots = 0
    /// The path and depth of the header above: `[delivery]`.
    private var table = TOMLPlace.root
    /// How many elements each list of tables (`[[...]]`) has.
    private var elements: [String: Int] = [:]

    /// Throws why the text must not be given to toml++.
    init(_ text: String) throws(Refusal) {
        self.init(octets: Array(text.utf8))
        try scan()
    }

    private init(octets: [UInt8]) {
        self.octets = octets
    }

    private mutating func scan() throws(Refusal) {
        while true {
            try skipSpaceAndComments(acrossLines: true)
            guard let octet = peek else { return }
            if octet == openBracket {
                try header()
            } else {
                try keyAndValue(in: table)
            }
            try skipSpaceAndComments(acrossLines: false)
            guard peek == nil || peek == newline else { throw unexpected("the end of the line") }
        }
    }

    // MARK: statements

    /// `[key]` or `[[key]]`.
    private mutating func header() throws(Refusal) {
        try count()
        let start = line
        place += 1
        let isElement = peek == openBracket
        if isElement { place += 1 }
        var inner = TOMLPlace.root
        try key { (outline, part, isLast) throws(Refusal) in
            inner = inner.member(part)
            outline.note(inner, at: start)
            if isLast, isElement, let path = inner.path {
                outline.elements[path, default: 0] += 1
            }
            // A header below a list of tables speaks of its last element.
            if let path = inner.path, let count = outline.elements[path] {
                inner = inner.element(count - 1)
                outline.note(inner, at: start)
            }
            try outline.check(inner)
        }
        for _ in 0..<(isElement ? 2 : 1) {
            guard peek == closeBracket else { throw unexpected("]") }
            place += 1
        }
        table = inner
    }

    /// `key = value`.
    private mutating func keyAndValue(in outer: TOMLPlace) throws(Refusal) {
        let start = line
        var inner = outer
        try key { (outline, part, _) throws(Refusal) in
            inner = inner.member(part)
            outline.note(inner, at: start)
            try outline.check(inner)
        }
        guard peek == UInt8(ascii: "=") else { throw unexpected("=") }
        place += 1
        try skipSpaceAndComments(acrossLines: false)
        try value(inner)
    }

    /// A dotted key; `part` is called with each of its parts. Ends before what follows the key.
    private mutating func key(
        _ part: (inout TOMLOutline, String, _ isLast: Bool) throws(Refusal) -> Void
    ) throws(Refusal) {
        while true {
            skipSpace()
            let name = try simpleKey()
            skipSpace()
            let isLast = peek != UInt8(ascii: ".")
            if !isLast { dots += 1 }
            guard dots <= maximumDots else {
                throw refused("too many dotted keys; allowed: \(maximumDots) dots")
            }
            try part(&self, name, isLast)
            if isLast { return }
            place += 1
        }
    }

    private mutating func simpleKey() throws(Refusal) -> String {
        let start = place
        if let quote = peek, quote == doubleQuote || quote == singleQuote {
            guard !octets[place...].starts(with: [quote, quote, quote]) else {
                throw unexpected("a key on one line")
            }
            try string()
            return String(decoding: octets[(start + 1)..<(place - 1)], as: UTF8.self)
        }
        while let octet = peek, isBareKey(octet) { place += 1 }
        guard place > start else { throw unexpected("a key") }
        return String(decoding: octets[start..<place], as: UTF8.self)
    }

    // MARK: values

    private mutating func value(_ outer: TOMLPlace) throws(Refusal) {
        try count()
        switch peek {
        case doubleQuote, singleQuote: try string()
        case openBracket: try array(outer)
        case UInt8(ascii: "{"): try inlineTable(outer)
        default:
            let start = place
            while let octet = peek, isPlainValue(octet) { place += 1 }
            guard canBeValue(octets[start..<place]) else {
                place = start
                throw unexpected("a value; strings are in quotes")
            }
        }
    }

    private mutating func array(_ outer: TOMLPlace) throws(Refusal) {
        place += 1
        var index = 0
        while true {
            try skipSpaceAndComments(acrossLines: true)
            if peek == closeBracket { break }
            let inner = outer.element(index)
            try check(inner)
            note(inner, at: line)
            try value(inner)
            index += 1
            try skipSpaceAndComments(acrossLines: true)
            if peek == closeBracket { break }
            guard peek == comma else { throw unexpected(", or ]") }
            place += 1
        }
        place += 1
    }

    private mutating func inlineTable(_ outer: TOMLPlace) throws(Refusal) {
        place += 1
        while true {
            skipSpace()
            if peek == UInt8(ascii: "}") { break }
            try keyAndValue(in: outer)
            skipSpace()
            if peek == UInt8(ascii: "}") { break }
            guard peek == comma else { throw unexpected(", or }") }
            place += 1
        }
        place += 1
    }

    /// Any of the four kinds of strings; ends behind the closing quotes.
    private mutating func string() throws(Refusal) {
        let start = line
        guard let quote = peek else { throw unexpected("a string") }
        let isLong = octets[place...].starts(with: [quote, quote, quote])
        place += isLong ? 3 : 1
        while let octet = peek {
            if octet == quote {
                if !isLong {
                    place += 1
                    return
                }
                // Up to two quotes may stand before the closing three.
                let run = octets[place...].prefix(5).prefix { $0 == quote }.count
                place += run
                if run >= 3 { return }
                continue
            }
            if octet == newline {
                guard isLong else { throw unexpected("the end of the string") }
                line += 1
            }
            if octet == UInt8(ascii: "\\"), quote == doubleQuote {
                try escape()
            } else {
                place += 1
            }
        }
        throw Refusal(line: start, text: "found a string without its end")
    }

    /// TOMLKit hands strings over as C strings: one with a NUL in it would be cut there unseen.
    private mutating func escape() throws(Refusal) {
        let rest = octets[(place + 1)...]
        let digits = rest.first == UInt8(ascii: "u") ? 4 : 8
        if rest.first == UInt8(ascii: "u") || rest.first == UInt8(ascii: "U") {
            let code = rest.dropFirst().prefix(digits)
            if code.count == digits, code.allSatisfy({ $0 == UInt8(ascii: "0") }) {
                throw refused("found a NUL in a string; allowed: text")
            }
        }
        // A line feed after the backslash is left for the caller, who counts lines.
        place += rest.first == nil || rest.first == newline ? 1 : 2
    }

    // MARK: octets

    private var peek: UInt8? { place < octets.count ? octets[place] : nil }

    private mutating func note(_ place: TOMLPlace, at line: Int) {
        if let path = place.path, lines[path] == nil { lines[path] = line }
    }

    /// One more table or value.
    private mutating func count() throws(Refusal) {
        values += 1
        guard values <= maximumNodes else {
            throw refused("too many values; allowed: \(maximumNodes)")
        }
    }

    private func check(_ place: TOMLPlace) throws(Refusal) {
        guard place.depth <= maximumNesting else {
            throw refused("nested too deep; allowed: \(maximumNesting) levels")
        }
    }

    private func refused(_ text: String) -> Refusal {
        Refusal(line: line, text: text)
    }

    /// What stands here is not what must follow.
    private func unexpected(_ wanted: String) -> Refusal {
        let rest = String(decoding: octets[place...].prefix { $0 != newline }, as: UTF8.self)
        let found = rest.isEmpty ? "the end of the line" : printable(rest, quoted: true, limit: 20)
        return refused("found \(found); wanted: \(wanted)")
    }

    private mutating func skipSpace() {
        while let octet = peek, octet == UInt8(ascii: " ") || octet == UInt8(ascii: "\t") {
            place += 1
        }
    }

    /// Ends at the end, at a line feed unless `acrossLines`, or at something else.
    private mutating func skipSpaceAndComments(acrossLines: Bool) throws(Refusal) {
        while true {
            skipSpace()
            switch peek {
            case UInt8(ascii: "#"):
                while let octet = peek, octet != newline { place += 1 }
            case UInt8(ascii: "\r"):
                guard octets[place...].dropFirst().first == newline else {
                    throw unexpected("a line feed behind a carriage return")
                }
                place += 1
            case newline where acrossLines:
                place += 1
                line += 1
            default:
                return
            }
        }
    }
}

/// Where in the tree something stands.
struct TOMLPlace {
    /// nil when it would be longer than `maximumLength`, which no path of a setting is: a key of half
    /// a mebibyte must not be copied for each of a hundred thousand keys below it.
    private(set) var path: String?
    private(set) var depth: Int

    static let root = TOMLPlace(path: "", depth: 0)
    private static let maximumLength = 512

    func member(_ key: String) -> TOMLPlace {
        below { $0.isEmpty ? key : "\($0).\(key)" }
    }

    func element(_ index: Int) -> TOMLPlace {
        below { "\($0)[\(index)]" }
    }

    private func below(_ join: (String) -> String) -> TOMLPlace {
        let joined = path.map(join).flatMap { $0.utf8.count > Self.maximumLength ? nil : $0 }
        return TOMLPlace(path: joined, depth: depth + 1)
    }
}

/// toml++ looks through all tables that dotted keys made for each dotted key: 1 MiB of them would
/// take it seconds.
private let maximumDots = 10_000

private let newline = UInt8(ascii: "\n")
private let doubleQuote = UInt8(ascii: "\"")
private let singleQuote = UInt8(ascii: "'")
private let openBracket = UInt8(ascii: "[")
private let closeBracket = UInt8(ascii: "]")
private let comma = UInt8(ascii: ",")

private func isBareKey(_ octet: UInt8) -> Bool {
    switch octet {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
    default: false
    }
}

/// Words are the booleans and two numbers. Whatever begins otherwise is for toml++ to judge.
private func canBeValue(_ written: ArraySlice<UInt8>) -> Bool {
    guard let first = written.first else { return false }
    switch first {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"):
        let word = written.prefix { $0 != UInt8(ascii: " ") }
        return ["true", "false", "inf", "nan"].contains { word.elementsEqual($0.utf8) }
    default:
        return true
    }
}

/// What numbers, booleans and dates are made of. A date may have a space before its time.
private func isPlainValue(_ octet: UInt8) -> Bool {
    switch octet {
    case UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: " "): true
    default: isBareKey(octet)
    }
}
