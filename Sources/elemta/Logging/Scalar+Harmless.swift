extension Unicode.Scalar {
    /// False for what acts on a terminal, ends a line, or turns the direction of reading: what
    /// clients and next hops say is shown to operators, in the log and by `elemta queue`.
    var isHarmless: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: false
        default: true
        }
    }
}
