/// How one kind of value is read, checked, shown and described.
struct ValueType<Value: Sendable>: Sendable {
    let name: String
    let allowed: String
    /// A map or a list of maps: a variable holds it as JSON.
    var holdsMaps = false
    var isSecret = false
    /// nil when the value was refused; the findings then say why.
    let read: @Sendable (ConfigurationNode, String, inout Findings) -> Value?
    /// As YAML writes it.
    let show: @Sendable (Value) -> String
    /// The keys inside each value, for a list of maps.
    var members: @Sendable (String) -> [KeyDescription] = { _ in [] }

    /// A value that one scalar holds; `parse` answers nil for what isn't allowed.
    static func scalar(
        _ name: String, allowed: String, show: @escaping @Sendable (Value) -> String,
        parse: @escaping @Sendable (ConfigurationNode.Scalar) -> Value?
    ) -> ValueType {
        ValueType(
            name: name, allowed: allowed,
            read: { node, path, findings in
                if case .scalar(let scalar) = node.content, let value = parse(scalar) {
                    return value
                }
                findings.refuse(node, path, allowed: allowed)
                return nil
            }, show: show)
    }

    /// A value written as a string.
    static func string(
        allowed: String, show: @escaping @Sendable (Value) -> String,
        parse: @escaping @Sendable (String) -> Value?
    ) -> ValueType {
        .scalar("string", allowed: allowed, show: { quoted(show($0)) }) { scalar in
            scalar.text.flatMap(parse)
        }
    }
}

extension ConfigurationNode.Scalar {
    /// The scalar as a string; nil for what was written as something else: a number in a place for
    /// text must be put in quotes, so that YAML and TOML agree.
    var text: String? {
        switch self {
        case .text(let text), .untyped(let text): text
        case .null, .boolean, .integer, .number, .other, .secret: nil
        }
    }

    var wholeNumber: Int? {
        switch self {
        case .integer(let value): value
        case .untyped(let text): decimalInteger(text)
        case .null, .boolean, .number, .text, .other, .secret: nil
        }
    }
}

private func quoted(_ text: String) -> String { "\"\(text)\"" }

extension ValueType where Value == Bool {
    static var boolean: ValueType {
        .scalar("boolean", allowed: "true or false", show: { "\($0)" }) { scalar in
            switch scalar {
            case .boolean(let value): value
            case .untyped("true"): true
            case .untyped("false"): false
            case .null, .integer, .number, .text, .other, .secret, .untyped: nil
            }
        }
    }
}

extension ValueType where Value == Int {
    static func integer(_ range: ClosedRange<Int>, _ unit: String = "") -> ValueType {
        let allowed = "a whole number from \(range.lowerBound) to \(range.upperBound)"
        return .scalar(
            "integer", allowed: unit.isEmpty ? allowed : "\(allowed) (\(unit))", show: { "\($0)" }
        ) { scalar in
            scalar.wholeNumber.flatMap { range.contains($0) ? $0 : nil }
        }
    }
}

/// Decimal digits with an optional minus sign and no leading zeros: what YAML 1.1 would have read
/// as octal is no number here.
func decimalInteger(_ text: some StringProtocol) -> Int? {
    let digits = text.utf8.first == UInt8(ascii: "-") ? text.dropFirst() : text[...]
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
        digits.utf8.first != UInt8(ascii: "0") || digits.utf8.count == 1
    else { return nil }
    return Int(text)
}

extension ValueType where Value == Int? {
    /// A number, or the empty string for "none given".
    static func optionalInteger(_ range: ClosedRange<Int>, _ unit: String) -> ValueType {
        .scalar(
            "integer",
            allowed: "a whole number from \(range.lowerBound) to \(range.upperBound) (\(unit)), "
                + "or \"\"",
            show: { $0.map { "\($0)" } ?? "\"\"" }
        ) { scalar -> Int?? in
            if scalar.text?.isEmpty == true { return .some(nil) }
            guard let value = scalar.wholeNumber, range.contains(value) else { return nil }
            return .some(value)
        }
    }
}

extension ValueType where Value == String {
    /// Any text of one line; `check` may refuse more.
    static func text(
        _ allowed: String = "a string", check: @escaping @Sendable (String) -> Bool = { _ in true }
    ) -> ValueType {
        .string(allowed: allowed, show: { $0 }) { hasOneLine($0) && check($0) ? $0 : nil }
    }

    static var path: ValueType { .text("a path") { !$0.isEmpty } }
}

extension ValueType where Value == String? {
    /// Any text of one line; nil when it is empty.
    static func optionalText(_ allowed: String) -> ValueType {
        .string(allowed: "\(allowed), or \"\"", show: { $0 ?? "" }) { text -> String?? in
            guard hasOneLine(text) else { return nil }
            return text.isEmpty ? .some(nil) : .some(text)
        }
    }
}

/// Paths and names end up in system calls, logs and protocols: a control character in one is a
/// mistake at best.
private func hasOneLine(_ text: String) -> Bool {
    !text.unicodeScalars.contains { $0.properties.generalCategory == .control }
}

extension ValueType where Value == SecretSource {
    /// The name of a file that holds a secret, or the secret itself from the environment.
    static var secretFile: ValueType {
        var type = ValueType.scalar(
            "string", allowed: "the path of a file that holds the secret, or \"\"",
            show: { _ in "\"\"" }
        ) { scalar in
            if case .secret(let secret) = scalar {
                return secret.revealed.isEmpty ? SecretSource.none : .given(secret)
            }
            guard let path = scalar.text, hasOneLine(path) else { return nil }
            return path.isEmpty ? SecretSource.none : .file(path)
        }
        type.isSecret = true
        return type
    }
}

extension ValueType {
    /// One of the strings that `Value` has cases for.
    static func oneOf() -> ValueType
    where Value: CaseIterable & RawRepresentable, Value.RawValue == String {
        .string(
            allowed: Value.allCases.map { quoted($0.rawValue) }.joined(separator: ", "),
            show: \.rawValue
        ) { Value(rawValue: $0) }
    }

    /// A value of our own with a written form.
    static func described(
        _ allowed: String, parse: @escaping @Sendable (String) -> Value?
    ) -> ValueType where Value: CustomStringConvertible {
        .string(allowed: allowed, show: \.description, parse: parse)
    }

    /// The same, or nil for the empty string.
    static func optional<Wrapped: CustomStringConvertible>(
        _ allowed: String, parse: @escaping @Sendable (String) -> Wrapped?
    ) -> ValueType where Value == Wrapped? {
        .string(allowed: "\(allowed), or \"\"", show: { $0?.description ?? "" }) { text in
            if text.isEmpty { return .some(nil) }
            return parse(text).map { .some($0) }
        }
    }
}
