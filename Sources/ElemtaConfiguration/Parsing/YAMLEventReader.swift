import CLibyaml

/// One step of a YAML stream, as libyaml's event parser sees it.
struct YAMLEvent {
    enum Kind {
        case streamStart, streamEnd, documentStart, documentEnd
        case alias
        case scalar(String, isPlain: Bool)
        case listStart, listEnd
        case mapStart, mapEnd
        /// What libyaml may add one day.
        case unknown
    }

    let kind: Kind
    /// Counted from 1.
    let line: Int
    let hasAnchor: Bool
    let hasTag: Bool
}

/// Why libyaml stopped.
struct YAMLFailure: Error {
    /// Counted from 1.
    let line: Int
    let text: String
}

/// Owns a `yaml_parser_t` and the octets that it reads: `yaml_parser_set_input_string` keeps a
/// pointer to them. Both are freed in `deinit`, the parser by `yaml_parser_delete`.
@safe struct YAMLEventReader: ~Copyable {
    // Safe because both pointers are made in `init`, freed in `deinit` and never leave this value.
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let octets: UnsafeMutableBufferPointer<UInt8>

    /// nil when memory is short.
    init?(_ text: [UInt8]) {
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        unsafe parser.initialize(to: yaml_parser_t())
        guard unsafe yaml_parser_initialize(parser) == 1 else {
            unsafe parser.deallocate()
            return nil
        }
        let octets = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: text.count)
        _ = unsafe octets.initialize(from: text)
        unsafe yaml_parser_set_input_string(parser, octets.baseAddress, octets.count)
        // Else an unlucky first octet would choose another encoding.
        unsafe yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
        unsafe self.parser = parser
        unsafe self.octets = octets
    }

    deinit {
        unsafe yaml_parser_delete(parser)
        unsafe parser.deallocate()
        unsafe octets.deallocate()
    }

    /// The next event (`yaml_parser_parse`). Not to be called again after it threw or answered
    /// `streamEnd`.
    mutating func next() throws(YAMLFailure) -> YAMLEvent {
        var event = unsafe yaml_event_t()
        guard unsafe yaml_parser_parse(parser, &event) == 1 else { throw failure() }
        // Safe because the event owns its strings until it is deleted here, and they are copied.
        defer { unsafe yaml_event_delete(&event) }
        let line = unsafe Int(clamping: event.start_mark.line) + 1
        switch unsafe event.type {
        case YAML_STREAM_START_EVENT: return .plain(.streamStart, line)
        case YAML_STREAM_END_EVENT: return .plain(.streamEnd, line)
        case YAML_DOCUMENT_START_EVENT: return .plain(.documentStart, line)
        case YAML_DOCUMENT_END_EVENT: return .plain(.documentEnd, line)
        case YAML_ALIAS_EVENT: return .plain(.alias, line)
        case YAML_SCALAR_EVENT:
            let scalar = unsafe event.data.scalar
            let text = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            return YAMLEvent(
                kind: .scalar(
                    unsafe String(decoding: text, as: UTF8.self),
                    isPlain: unsafe scalar.style == YAML_PLAIN_SCALAR_STYLE),
                line: line, hasAnchor: unsafe scalar.anchor != nil,
                hasTag: unsafe scalar.tag != nil)
        case YAML_SEQUENCE_START_EVENT:
            let start = unsafe event.data.sequence_start
            return YAMLEvent(
                kind: .listStart, line: line, hasAnchor: unsafe start.anchor != nil,
                hasTag: unsafe start.tag != nil)
        case YAML_MAPPING_START_EVENT:
            let start = unsafe event.data.mapping_start
            return YAMLEvent(
                kind: .mapStart, line: line, hasAnchor: unsafe start.anchor != nil,
                hasTag: unsafe start.tag != nil)
        case YAML_SEQUENCE_END_EVENT: return .plain(.listEnd, line)
        case YAML_MAPPING_END_EVENT: return .plain(.mapEnd, line)
        default: return .plain(.unknown, line)
        }
    }

    /// What the parser's error fields say. The reader's errors (octets that are no YAML characters)
    /// come with an offset instead of a mark.
    private func failure() -> YAMLFailure {
        let state = unsafe parser.pointee
        let problem = unsafe text(state.problem) ?? "not YAML"
        if unsafe state.error == YAML_READER_ERROR {
            let offset = unsafe Int(clamping: state.problem_offset)
            let line = unsafe lineNumber(of: offset, in: octets)
            return YAMLFailure(line: line, text: problem)
        }
        let line = unsafe Int(clamping: state.problem_mark.line) + 1
        guard let context = unsafe text(state.context) else {
            return YAMLFailure(line: line, text: problem)
        }
        let start = unsafe Int(clamping: state.context_mark.line) + 1
        return YAMLFailure(
            line: line,
            text: start == line ? "\(problem) \(context)" : "\(problem) \(context) in line \(start)"
        )
    }

    private func text(_ pointer: UnsafePointer<CChar>?) -> String? {
        // Safe because libyaml's messages are string literals.
        unsafe pointer.map { unsafe String(cString: $0) }
    }
}

extension YAMLEvent {
    fileprivate static func plain(_ kind: Kind, _ line: Int) -> YAMLEvent {
        YAMLEvent(kind: kind, line: line, hasAnchor: false, hasTag: false)
    }
}
