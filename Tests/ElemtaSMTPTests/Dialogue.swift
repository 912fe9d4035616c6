import ElemtaSMTP
import Glibc

/// A dialogue of `Tests/Dialogues`. Each line of such a file is one of
///
///     # a comment
///     = key value         a parameter: max_size, max_recipients, max_errors, max_messages,
///                         bare_newline, content (full), commit (full), tls (starttls, implicit,
///                         unavailable), auth (plain,login), auth_needs_tls (yes), auth_required
///                         (yes), requiretls (no), dev (yes), xclient (yes)
///     C: text             what the client sends, with CRLF behind it
///     c: text             the same without CRLF
///     S: text             a line of the server's replies
///     D: <from> <to>...   a message that the server has accepted ...
///     M: text             ... and its content, with CRLF behind it
///     m: text             the same without CRLF
///     W: seconds          how long an answer is held back
///     E: closed           the server has closed the connection
///
/// In `C`, `c`, `M` and `m` lines `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` are octets, and
/// `\{N:text}` is the text N times. Replies and messages are compared in their order, wherever in the
/// file they stand: replies don't depend on when octets come. What the client sends behind a STARTTLS
/// that is answered 220 it sends inside TLS.
struct Dialogue: CustomStringConvertible {
    let name: String
    var octets: [UInt8] = []
    var expected = Expected()
    private var settings: [String: String] = [:]

    struct Expected {
        var replies: [UInt8] = []
        var messages: [(paths: String, content: [UInt8])] = []
        var isClosed = false
        var delays: [Int] = []
    }

    struct Malformed: Error { let line: String }

    var description: String { name }

    init(name: String, text: String) throws(Malformed) {
        self.name = name
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            try read(String(line))
        }
    }

    private mutating func read(_ line: String) throws(Malformed) {
        let value = String(line.dropFirst(3))
        let octets = try Self.unescaped(value, line)
        switch line.prefix(2) {
        case "= ":
            let words = line.split(separator: " ")
            guard words.count == 3 else { throw Malformed(line: line) }
            settings[String(words[1])] = String(words[2])
        case "C:": self.octets += octets + Array("\r\n".utf8)
        case "c:": self.octets += octets
        case "S:": expected.replies += Array((value + "\r\n").utf8)
        case "D:": expected.messages.append((value, []))
        case "M:", "m:":
            guard !expected.messages.isEmpty else { throw Malformed(line: line) }
            expected.messages[expected.messages.count - 1].content +=
                line.hasPrefix("M") ? octets + Array("\r\n".utf8) : octets
        case "W:":
            guard let seconds = Int(value) else { throw Malformed(line: line) }
            expected.delays.append(seconds)
        case "E:": expected.isClosed = true
        default: throw Malformed(line: line)
        }
    }

    static func unescaped(_ text: String, _ line: String) throws(Malformed) -> [UInt8] {
        var octets: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let octet = rest.popFirst() {
            guard octet == UInt8(ascii: "\\") else {
                octets.append(octet)
                continue
            }
            switch rest.popFirst() {
            case UInt8(ascii: "r")?: octets.append(13)
            case UInt8(ascii: "n")?: octets.append(10)
            case UInt8(ascii: "t")?: octets.append(9)
            case UInt8(ascii: "0")?: octets.append(0)
            case UInt8(ascii: "\\")?: octets.append(UInt8(ascii: "\\"))
            case UInt8(ascii: "x")?:
                guard let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
                else { throw Malformed(line: line) }
                octets.append(value)
                rest = rest.dropFirst(2)
            case UInt8(ascii: "{")?:
                guard let colon = rest.firstIndex(of: UInt8(ascii: ":")),
                    let close = rest.firstIndex(of: UInt8(ascii: "}")),
                    let count = Int(String(decoding: rest[..<colon], as: UTF8.self))
                else { throw Malformed(line: line) }
                let part = try unescaped(
                    String(decoding: rest[(colon + 1)..<close], as: UTF8.self), line)
                for _ in 0..<count { octets += part }
                rest = rest[(close + 1)...]
            default: throw Malformed(line: line)
            }
        }
        return octets
    }

    // MARK: Replaying

    var parameters: ServerParameters {
        ServerParameters(
            hostname: "mail.example.com",
            maximumMessageSize: settings["max_size"].flatMap(UInt64.init) ?? 26_214_400,
            maximumRecipients: settings["max_recipients"].flatMap { Int($0) } ?? 1000,
            maximumErrors: settings["max_errors"].flatMap { Int($0) } ?? 20,
            bareNewline: settings["bare_newline"] == "normalize" ? .normalize : .reject,
            maximumMessages: settings["max_messages"].flatMap { Int($0) } ?? 0, offer: offer)
    }

    private var offer: ServerOffer {
        var offer = ServerOffer()
        switch settings["tls"] {
        case "starttls", "unavailable": offer.tls = .startTLS
        case "implicit": offer.tls = .implicit
        default: offer.tls = .off
        }
        offer.offersRequireTLS = settings["requiretls"] != "no"
        offer.mechanisms = (settings["auth"] ?? "").split(separator: ",")
            .compactMap { SASLMechanism(rawValue: $0.uppercased()) }
        offer.authenticationNeedsTLS = settings["auth_needs_tls"] == "yes"
        offer.authenticationIsRequired = settings["auth_required"] == "yes"
        offer.isDevelopment = settings["dev"] == "yes"
        return offer
    }

    private var policy: Policy {
        Policy(
            content: settings["content"] == "full" ? .insufficientStorage : nil,
            commit: settings["commit"] == "full" ? .insufficientStorage : nil,
            handshake: settings["tls"] == "unavailable" ? .unavailable : .instant)
    }

    /// Replays the client's octets in the given pieces.
    func replay(
        _ pieces: [ArraySlice<UInt8>], segmentLength: Int = .max
    ) -> (transcript: Transcript, violations: [String]) {
        var driver = SessionDriver(
            parameters: parameters, policy: policy, segmentLength: segmentLength,
            mayUseXCLIENT: settings["xclient"] == "yes")
        for piece in pieces { driver.feed(piece) }
        return (driver.transcript, driver.violations)
    }

    // MARK: Files

    private static let folder =
        #filePath.split(separator: "/").dropLast(2).map { "/" + $0 }.joined() + "/Dialogues"

    /// Every dialogue in `Tests/Dialogues`, in the order of their names. Those that are malformed
    /// are missing.
    static let all: [Dialogue] = names.compactMap { name in
        guard let text = contents(of: "\(folder)/\(name)") else { return nil }
        return try? Dialogue(name: name, text: text)
    }

    /// The files' names, in order.
    static let names: [String] = {
        guard let directory = unsafe opendir(folder) else { return [] }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            // Safe because d_name ends with a NUL and outlives the call.
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
                unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) { text in
                    unsafe String(cString: text)
                }
            }
            if name.hasSuffix(".txt") { names.append(name) }
        }
        return names.sorted()
    }()

    private static func contents(of path: String) -> String? {
        guard let file = unsafe fopen(path, "r") else { return nil }
        defer { unsafe fclose(file) }
        var octets: [UInt8] = []
        while case let octet = unsafe getc(file), octet != EOF { octets.append(UInt8(octet)) }
        return String(decoding: octets, as: UTF8.self)
    }
}
