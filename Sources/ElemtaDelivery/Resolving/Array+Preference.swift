extension Array {
    /// Up to `count` elements in their order, among them the first of each preference, as long as the
    /// places last: many hosts of one preference, all of them dead, don't keep those behind them from
    /// being tried.
    func prefix(_ count: Int, reachingEach preference: (Element) -> UInt16) -> [Element] {
        guard self.count > count else { return self }
        var firsts: [UInt16: Int] = [:]
        for index in indices {
            let preference = preference(self[index])
            if firsts[preference] == nil { firsts[preference] = index }
        }
        // The best preferences first, in whatever order the elements are.
        var chosen = Set(firsts.sorted { $0.key < $1.key }.prefix(count).map(\.value))
        for index in indices where chosen.count < count { chosen.insert(index) }
        return chosen.sorted().map { self[$0] }
    }
}
