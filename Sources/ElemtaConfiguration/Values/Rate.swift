extension Configuration {
    /// At most so many in so many seconds, written `100/60s`.
    public struct Rate: Hashable, Sendable, CustomStringConvertible {
        public var count: Int
        public var seconds: Int

        public init(count: Int, seconds: Int) {
            self.count = count
            self.seconds = seconds
        }

        /// Reads `100/60s`: 1 to 1,000,000 in 1 to 86,400 seconds.
        public init?(_ text: String) {
            let parts = text.split(separator: "/", omittingEmptySubsequences: false)
            guard parts.count == 2, parts[1].last == "s",
                let count = plainNumber(parts[0]), (1...1_000_000).contains(count),
                let seconds = plainNumber(parts[1].dropLast()), (1...86_400).contains(seconds)
            else { return nil }
            self.init(count: count, seconds: seconds)
        }

        public var description: String { "\(count)/\(seconds)s" }
    }
}

/// Digits alone: `Int` would take a sign too.
private func plainNumber(_ text: Substring) -> Int? {
    guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int(text)
}
