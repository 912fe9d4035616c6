import ElemtaSMTP

/// Names of domains as DNS has them (RFC 5890): U-labels become `xn--` and Punycode (RFC 3492).
enum DomainNameEncoding {
    /// RFC 1035 2.3.4: octets of a label, and of a name as text.
    private static let maximumLabel = 63
    private static let maximumName = 253

    /// The name to ask DNS for; nil for an address literal and for what no name can be.
    static func asciiName(of domain: Domain) -> String? {
        guard domain.addressLiteral == nil else { return nil }
        let labels = domain.description.split(separator: ".", omittingEmptySubsequences: false)
        var name = ""
        for label in labels {
            guard let ascii = asciiLabel(label), !ascii.isEmpty,
                ascii.utf8.count <= maximumLabel
            else { return nil }
            name += name.isEmpty ? ascii : "." + ascii
        }
        return name.isEmpty || name.utf8.count > maximumName ? nil : name
    }

    private static func asciiLabel(_ label: Substring) -> String? {
        if label.utf8.allSatisfy({ $0 < 0x80 }) { return String(label) }
        // RFC 5891 5.2 expects lower case and composed characters; `Domain` has folded the case.
        // Longer labels can't fit into 63 octets and aren't worth the quadratic work.
        let scalars = label.unicodeScalars.map(\.value)
        guard scalars.count <= maximumLabel else { return nil }
        return punycode(scalars).map { "xn--" + $0 }
    }

    /// RFC 3492 6.3, with the parameters of section 5.
    static func punycode(_ input: [UInt32]) -> String? {
        let (base, minimum, maximum): (UInt32, UInt32, UInt32) = (36, 1, 26)
        var output = input.filter { $0 < 0x80 }.map { UInt8($0) }
        let basicCount = UInt32(output.count)
        if basicCount > 0 { output.append(UInt8(ascii: "-")) }
        var handled = basicCount
        var (code, delta, bias): (UInt32, UInt32, UInt32) = (128, 0, 72)
        while handled < UInt32(input.count) {
            guard let next = input.lazy.filter({ $0 >= code }).min() else { return nil }
            let (step, isOverflow) = (next - code).multipliedReportingOverflow(by: handled + 1)
            let (sum, isSumOverflow) = delta.addingReportingOverflow(step)
            guard !isOverflow, !isSumOverflow else { return nil }
            delta = sum
            code = next
            for scalar in input {
                if scalar < code { delta += 1 }
                guard scalar == code else { continue }
                var rest = delta
                var position = base
                while true {
                    let threshold =
                        position <= bias
                        ? minimum : position >= bias + maximum ? maximum : position - bias
                    if rest < threshold { break }
                    output.append(digit(threshold + (rest - threshold) % (base - threshold)))
                    rest = (rest - threshold) / (base - threshold)
                    position += base
                }
                output.append(digit(rest))
                bias = adapt(delta, count: handled + 1, isFirst: handled == basicCount)
                delta = 0
                handled += 1
            }
            delta += 1
            code += 1
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// RFC 3492 6.1.
    private static func adapt(_ delta: UInt32, count: UInt32, isFirst: Bool) -> UInt32 {
        let (base, minimum, maximum, skew, damp): (UInt32, UInt32, UInt32, UInt32, UInt32) =
            (36, 1, 26, 38, 700)
        var delta = isFirst ? delta / damp : delta / 2
        delta += delta / count
        var bias: UInt32 = 0
        while delta > (base - minimum) * maximum / 2 {
            delta /= base - minimum
            bias += base
        }
        return bias + (base - minimum + 1) * delta / (delta + skew)
    }

    private static func digit(_ value: UInt32) -> UInt8 {
        UInt8(value < 26 ? value + 97 : value - 26 + 48)
    }
}
