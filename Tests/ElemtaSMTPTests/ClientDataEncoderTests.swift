import ElemtaSMTP
import Testing

struct ClientDataEncoderTests {
    private func encode(_ pieces: [[UInt8]]) -> [UInt8] {
        var encoder = DataEncoder()
        var wire: [UInt8] = []
        for piece in pieces {
            encoder.encode(piece.span) { range, dotFollows in
                wire += piece[range]
                if dotFollows { wire.append(UInt8(ascii: ".")) }
            }
        }
        return wire + encoder.terminator
    }

    /// What a receiver that obeys RFC 5321 4.5.2 takes out of `wire`: nil when the data doesn't end
    /// exactly where `wire` does.
    private func decode(_ wire: [UInt8]) -> [UInt8]? {
        var content: [UInt8] = []
        var lineStart = 0
        var index = 0
        while index + 1 < wire.count {
            guard wire[index] == 13, wire[index + 1] == 10 else {
                index += 1
                continue
            }
            var line = wire[lineStart..<index + 2]
            if line.elementsEqual(".\r\n".utf8) { return index + 2 == wire.count ? content : nil }
            if line.first == UInt8(ascii: ".") { line = line.dropFirst() }
            content += line
            index += 2
            lineStart = index
        }
        return nil
    }

    private func completed(_ content: [UInt8]) -> [UInt8] {
        content.isEmpty || content.suffix(2).elementsEqual("\r\n".utf8)
            ? content : content + Array("\r\n".utf8)
    }

    @Test(
        "The wire form of DATA",
        arguments: [
            ("", ".\r\n"), ("a\r\n", "a\r\n.\r\n"), ("a", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"), (".\r\n", "..\r\n.\r\n"), ("..\r\n", "...\r\n.\r\n"),
            ("a\r\n.b\r\n", "a\r\n..b\r\n.\r\n"), ("\r\n.\r\n", "\r\n..\r\n.\r\n"),
            ("a.b\r\n", "a.b\r\n.\r\n"), ("a\r\n.", "a\r\n..\r\n.\r\n"),
            ("a\r", "a\r\r\n.\r\n"), ("a\n.b", "a\n.b\r\n.\r\n"), ("\r\r\n.", "\r\r\n..\r\n.\r\n"),
        ])
    func wireForm(content: String, wire: String) {
        let octets = Array(content.utf8)
        #expect(encode([octets]) == Array(wire.utf8))
        #expect(decode(encode([octets])) == completed(octets))
        for cut in 0...octets.count {
            let pieces = [Array(octets[..<cut]), Array(octets[cut...])]
            #expect(encode(pieces) == Array(wire.utf8), "cut at \(cut)")
        }
    }

    @Test func everyContentComesBackWhateverItsSegments() {
        var random = SplitMix(state: 0x5eed)
        let alphabet: [UInt8] = [13, 10, 46, 46, 97, 0, 255]
        for _ in 0..<20_000 {
            let content = (0..<Int(random.next() % 24)).map { _ in
                alphabet[Int(random.next() % UInt64(alphabet.count))]
            }
            var pieces: [[UInt8]] = []
            var rest = content[...]
            while !rest.isEmpty {
                let count = Int(random.next() % 5)
                pieces.append(Array(rest.prefix(count)))
                rest = rest.dropFirst(count)
            }
            #expect(decode(encode(pieces)) == completed(content), "\(content)")
        }
    }
}

/// The same numbers in every run.
private struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
