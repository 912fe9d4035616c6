extension [UInt8] {
    /// Appends `value` in decimal, with zeros in front until there are `width` digits.
    public mutating func append(digits value: Int, atLeast width: Int = 1) {
        var rest = value.magnitude
        // An Int has 19 digits at most.
        var digits: InlineArray<20, UInt8> = .init(repeating: UInt8(ascii: "0"))
        var first = digits.count
        while rest > 0 || digits.count - first < Swift.min(width, digits.count) {
            first -= 1
            digits[first] += UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
        if value < 0 { append(UInt8(ascii: "-")) }
        for position in first..<digits.count { append(digits[position]) }
    }
}
