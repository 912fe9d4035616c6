import Testing

@testable import ElemtaConfiguration

/// Octets that mean something to YAML or TOML, and some that mean nothing to anybody.
private let loaded: [UInt8] =
    Array("\"'[]{}=.,#\n\r\t:- \\&*!%|>?@`u0~\u{0}".utf8) + [0xFF, 0xC3, 0x80, 0xEF]

/// What TOML is made of, for files that no editor ever wrote.
private let fragments = [
    "a", "b", ".", "=", "[", "]", "[[", "]]", "{", "}", ",", "\n", "\r\n", " ", "\"", "'", "\"\"\"",
    "'''", "\\", "\\u0041", "\\U0010FFFF", "\\x", "#", "1", "0x", "0b1", "0o7", "-", "+", "_",
    "inf",
    "nan", "1979-05-27", "T07:32:00", "Z", "-07:00", "e5", "1.5", "true", "fals", "\t", "é",
    "\u{FEFF}", "07:32", ":", "x = 1\n", "[a]\n", "[[a]]\n", "[a.b]\n", "a.b = 1\n", "a = []\n",
    "a = {}\n", "\\\n", "999999999999999999999", ".5", "1e400", "\u{85}", "\u{2028}", "a = ", "? ",
    "- ", "|\n", ">-\n", "&a ", "*a", "!!str ", "%YAML 1.2\n", "---\n", "...\n", "<<: ",
]

@Suite("Damage")
struct DamageTests {
    @Test("the sample files, damaged at random, are read or refused", arguments: [1, 2])
    func damagedSamples(seed: UInt64) throws {
        var numbers = SeededNumbers(seed: seed)
        let samples = try ["elemta.yaml", "elemta.toml", "dev.yaml"].map {
            ($0, try readConfigurationFile("\(sampleFolder)/\($0)"))
        }
        for round in 0..<2_500 {
            let (name, whole) = samples[round % samples.count]
            let damaged = damage(whole, &numbers)
            do {
                _ = try Configuration.read(damaged, from: .file(name))
            } catch {
                #expect(!error.problems.isEmpty)
            }
        }
    }

    @Test("random heaps of punctuation are read or refused", arguments: [5, 6])
    func heaps(seed: UInt64) {
        var numbers = SeededNumbers(seed: seed)
        for _ in 0..<10_000 {
            var text = ""
            for _ in 0..<Int.random(in: 1...16, using: &numbers) {
                text += fragments.randomElement(using: &numbers) ?? ""
            }
            for name in ["x.yaml", "x.toml"] {
                // An unknown key is the least that is wrong with each of them, unless it is empty.
                if problems(text, as: name).isEmpty { #expect(!text.contains("a = 1")) }
            }
        }
    }

    private func damage(_ whole: [UInt8], _ numbers: inout SeededNumbers) -> [UInt8] {
        var octets = whole
        for _ in 0..<Int.random(in: 1...6, using: &numbers) {
            let place = Int.random(in: 0..<octets.count, using: &numbers)
            let end = min(octets.count, place + Int.random(in: 1...40, using: &numbers))
            let octet = loaded.randomElement(using: &numbers) ?? 0
            switch Int.random(in: 0..<6, using: &numbers) {
            case 0: octets[place] = UInt8.random(in: 0...255, using: &numbers)
            case 1: octets.remove(at: place)
            case 2: octets.insert(octet, at: place)
            case 3: octets[place] = octet
            case 4: octets.insert(contentsOf: octets[place..<end], at: place)
            default: octets.removeSubrange(place..<end)
            }
        }
        return octets
    }
}
