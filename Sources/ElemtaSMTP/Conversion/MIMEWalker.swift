/// Finds the header sections, bodies and boundaries of a message that comes line by line (RFC 2045,
/// RFC 2046). What it keeps is bounded by ``maximumDepth`` and ``maximumField``.
struct MIMEWalker {
    /// What a line, or a piece of one, belongs to.
    enum Place {
        case header(Field)
        /// The empty line behind a header section, with what the section said.
        case headerEnd(MIMEEntity)
        case body
        case boundary
        /// Before the first and behind the last boundary of a multipart, where nobody looks (RFC
        /// 2046 5.1.1).
        case margin
    }

    enum Field {
        case type, encoding, version, other
    }

    /// Entities inside each other beyond this aren't looked into.
    static let maximumDepth = 50
    /// Octets of one field that is looked into. A longer one makes its entity malformed.
    static let maximumField = 8_192

    private struct Level {
        let boundary: [UInt8]
        let isDigest: Bool
        /// How deep the entity is that has this boundary.
        let depth: Int
    }

    private enum State {
        case header(Header)
        case body
        case margin
    }

    /// A header section as far as it has come.
    private struct Header {
        var entity: MIMEEntity
        var isDefaultMessage: Bool
        var field = Field.other
        var type: [UInt8] = []
        var encoding: [UInt8] = []
    }

    private var levels: [Level] = []
    private var depth = 0
    private var state: State
    private(set) var entityCount = 1
    /// The entity whose header section is being read, or was last.
    var entityIndex: Int { entityCount - 1 }
    /// What the line belongs to whose pieces come.
    private var place = Place.margin

    init() {
        state = .header(
            Header(entity: MIMEEntity(index: 0, isMessage: true), isDefaultMessage: false))
    }

    /// Takes a piece of a line. `isFirst`: it begins the line; `isLast`: the line ends behind it.
    mutating func take(_ piece: [UInt8], isFirst: Bool, isLast: Bool) -> Place {
        guard isFirst else {
            if case .header = place { continueField(piece) }
            return place
        }
        if isLast, passesBoundary(piece) {
            place = .boundary
            return place
        }
        switch state {
        case .header(var header):
            if piece.isEmpty, isLast {
                place = .headerEnd(end(header))
            } else {
                // Not copied while it is changed.
                state = .margin
                begin(piece, in: &header)
                place = .header(header.field)
                state = .header(header)
            }
        case .body: place = .body
        case .margin: place = .margin
        }
        return place
    }

    // MARK: Boundaries

    /// Goes on behind a boundary line (RFC 2046 5.1.1): one of an outer multipart ends all inner
    /// ones. False for a line that is none.
    private mutating func passesBoundary(_ line: [UInt8]) -> Bool {
        guard line.count > 2, line[0] == .hyphen, line[1] == .hyphen else { return false }
        for index in levels.indices.reversed() {
            let boundary = levels[index].boundary
            guard line.count >= 2 + boundary.count,
                line[2..<2 + boundary.count].elementsEqual(boundary)
            else { continue }
            var rest = line[(2 + boundary.count)...]
            let isClose = rest.starts(with: [.hyphen, .hyphen])
            if isClose { rest = rest.dropFirst(2) }
            guard isClose || rest.allSatisfy({ $0 == .space || $0 == .tab }) else { continue }
            depth = levels[index].depth
            if isClose {
                levels.removeSubrange(index...)
                state = .margin
            } else {
                levels.removeSubrange((index + 1)...)
                beginEntity(isMessage: false, isDefaultMessage: levels[index].isDigest)
            }
            return true
        }
        return false
    }

    private mutating func beginEntity(isMessage: Bool, isDefaultMessage: Bool) {
        depth += 1
        let entity = MIMEEntity(index: entityCount, isMessage: isMessage)
        entityCount += 1
        state = .header(Header(entity: entity, isDefaultMessage: isDefaultMessage))
    }

    // MARK: Header sections

    private func begin(_ line: [UInt8], in header: inout Header) {
        if line[0] == .space || line[0] == .tab {
            // RFC 5322 2.2.3: the field goes on.
            append(line, to: &header)
            return
        }
        guard let colon = line.prefix(1_000).firstIndex(of: .colon), colon > 0 else {
            header.entity.isMalformed = true
            header.field = .other
            return
        }
        var name = line[..<colon]
        while name.last == .space || name.last == .tab { name.removeLast() }
        switch String(decoding: name.map(\.lowercased), as: UTF8.self) {
        case "content-type":
            // Of two the readers take either.
            if header.entity.hasType { header.entity.isMalformed = true }
            header.entity.hasType = true
            header.field = .type
        case "content-transfer-encoding":
            if header.entity.hasEncoding { header.entity.isMalformed = true }
            header.entity.hasEncoding = true
            header.field = .encoding
        case "mime-version":
            header.entity.hasVersion = true
            header.field = .version
        default: header.field = .other
        }
        append(line[(colon + 1)...], to: &header)
    }

    private mutating func continueField(_ piece: [UInt8]) {
        guard case .header(var header) = state else { return }
        state = .margin
        append(piece[...], to: &header)
        state = .header(header)
    }

    private func append(_ octets: some Collection<UInt8>, to header: inout Header) {
        switch header.field {
        case .type:
            header.type += octets.prefix(Self.maximumField - header.type.count)
            if header.type.count >= Self.maximumField { header.entity.isMalformed = true }
        case .encoding:
            header.encoding += octets.prefix(Self.maximumField - header.encoding.count)
            if header.encoding.count >= Self.maximumField { header.entity.isMalformed = true }
        case .version, .other: break
        }
    }

    private mutating func end(_ header: Header) -> MIMEEntity {
        var entity = header.entity
        entity.encoding = .init(header.encoding)
        entity.body = body(header, entity)
        switch entity.body {
        case .leaf, .closed: state = .body
        case .message: beginEntity(isMessage: true, isDefaultMessage: false)
        case .multipart(let boundary, let isDigest):
            levels.append(Level(boundary: boundary, isDigest: isDigest, depth: depth))
            state = .margin
        }
        return entity
    }

    private func body(_ header: Header, _ entity: MIMEEntity) -> MIMEEntity.Body {
        let type = entity.hasType ? MIMEType(header.type) : nil
        // RFC 2045 5.2 and RFC 2046 5.1.5: what an entity is that doesn't say it.
        let isMessage =
            type.map { $0.type == "message" && $0.subtype == "rfc822" } ?? header.isDefaultMessage
        let isMultipart = type?.type == "multipart"
        // RFC 2046 5.2.2 and 5.2.3: 7 bits, not encoded.
        let isPart =
            type.map { $0.type == "message" && ["partial", "external-body"].contains($0.subtype) }
            ?? false
        guard isMessage || isMultipart || isPart else { return .leaf }
        // RFC 2045 6.4 forbids to encode what holds entities; where that happened it is one octet
        // string to us.
        guard entity.encoding.isIdentity else { return .leaf }
        guard !entity.isMalformed, !isPart, depth < Self.maximumDepth else { return .closed }
        if isMessage { return .message }
        guard let boundary = type?.boundary, boundary.count <= 998 else { return .closed }
        return .multipart(boundary: boundary, isDigest: type?.subtype == "digest")
    }
}
