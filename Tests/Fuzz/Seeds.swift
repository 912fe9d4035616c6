import ElemtaSMTP
import Glibc

/// Inputs of the fuzz target, as files for libFuzzer and as text for the repository.
///
///     seeds write FOLDER [CORPUS...]  writes the client's side of every dialogue, and the inputs
///                                     of corpora, into a folder
///     seeds pack FILE...              prints the contents of files as a corpus
///
/// A corpus is text, one input a line, in the notation of the dialogues' `c:` lines.
@main struct Seeds {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        switch (arguments.first, arguments.dropFirst().first) {
        case ("write"?, let folder?):
            writeDialogues(into: folder)
            for corpus in arguments.dropFirst(2) { try write(corpus, into: folder) }
        case ("pack"?, _):
            for line in arguments.dropFirst().compactMap(octets(of:)).map(escaped).sorted() {
                print(line)
            }
        default: exit(64)
        }
    }

    /// The lines of each dialogue, as many as an input takes and beginning ever further down: in
    /// every mode with nothing offered, and with what there is to offer.
    private static func writeDialogues(into folder: String) {
        for dialogue in Dialogue.all {
            let octets = dialogue.octets
            let lineFeeds = octets.indices.dropLast().filter { octets[$0] == 10 }
            let lineStarts = [0] + lineFeeds.map { $0 + 1 }
            var start = 0
            while let next = lineStarts.first(where: { $0 >= start }) {
                let path = "\(folder)/\(dialogue.name).\(next)"
                write(octets[next...].prefix(maximumLength), path)
                start = max(next + 1, next + maximumLength / 2)
            }
        }
    }

    /// Octets of a dialogue in one seed.
    private static let maximumLength = 240

    private static func write(_ octets: ArraySlice<UInt8>, _ path: String) {
        for mode in UInt8(0)..<16 {
            write([48 + mode, 0, 0, mode, 100] + octets, "\(path).\(mode)")
        }
        // TLS with AUTH; with dev mode; with XCLIENT; AUTH in clear text; required inside TLS.
        for (index, offered) in [UInt8(6), 14, 78, 4, 54, 9].enumerated() {
            for mode in UInt8(0)...1 {
                write(
                    [48 + mode * 10, offered, 0, UInt8(index), 40] + octets,
                    "\(path).\(mode).\(offered)")
            }
        }
    }

    private static func write(_ corpus: String, into folder: String) throws {
        let lines = (octets(of: corpus) ?? []).split(separator: UInt8(ascii: "\n"))
        for (index, line) in lines.enumerated() {
            let text = String(decoding: line, as: UTF8.self)
            write(try Dialogue.unescaped(text, text), "\(folder)/corpus.\(index)")
        }
    }

    private static func write(_ octets: [UInt8], _ path: String) {
        guard let file = unsafe fopen(path, "w") else { exit(73) }
        for octet in octets { unsafe putc(CInt(octet), file) }
        unsafe fclose(file)
    }

    private static func octets(of path: String) -> [UInt8]? {
        guard let file = unsafe fopen(path, "r") else { exit(66) }
        defer { unsafe fclose(file) }
        var octets: [UInt8] = []
        while case let octet = unsafe getc(file), octet != EOF { octets.append(UInt8(octet)) }
        return octets
    }

    private static func escaped(_ octets: [UInt8]) -> String {
        var text = ""
        for octet in octets {
            switch octet {
            case 13: text += "\\r"
            case 10: text += "\\n"
            case UInt8(ascii: "\\"): text += "\\\\"
            case 32...126: text.unicodeScalars.append(Unicode.Scalar(octet))
            default:
                let digits = String(octet, radix: 16)
                text += octet < 16 ? "\\x0\(digits)" : "\\x\(digits)"
            }
        }
        return text
    }
}
