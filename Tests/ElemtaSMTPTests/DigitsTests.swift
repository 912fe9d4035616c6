import ElemtaSMTP
import Testing

@Suite("Digits") struct DigitsTests {
    @Test(
        "decimal, with zeros in front where a width is asked for",
        arguments: [
            (0, 1, "0"), (7, 1, "7"), (7, 2, "07"), (12_345, 4, "12345"), (5, 4, "0005"),
            (0, 0, ""), (-40, 3, "-040"), (.max, 1, "9223372036854775807"),
            (.min, 1, "-9223372036854775808"), (1, 99, "00000000000000000001"),
        ])
    func digits(value: Int, width: Int, text: String) {
        var octets = Array("x".utf8)
        octets.append(digits: value, atLeast: width)
        #expect(String(decoding: octets, as: UTF8.self) == "x" + text)
    }
}
