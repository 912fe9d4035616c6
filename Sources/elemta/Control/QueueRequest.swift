import ElemtaQueue
import ElemtaSMTP

/// What `elemta queue` asks for, the same whether a running server or the command itself answers.
struct QueueRequest: Equatable, Sendable {
    enum Action: Equatable, Sendable {
        case list
        case show
        /// One message's story.
        case why
        case statistics
        case change(QueueOperation)
    }

    var action: Action
    var selection: QueueSelection
    var form = Form.table

    enum Form: String, Equatable, Sendable {
        case table
        /// One JSON object a line.
        case json
        /// `show`: the message's octets as they will be sent, nothing else.
        case raw
    }

    init(_ action: Action, _ selection: QueueSelection = .all, form: Form = .table) {
        self.action = action
        self.selection = selection
        self.form = form
    }
}

// As it travels over the control socket: queue, action, form, kind of selection, its values.
extension QueueRequest {
    var words: [String] {
        ["queue", action.word, form.rawValue] + selection.words
    }

    /// Nil when the words are no request of this version.
    init?(words: [String]) {
        guard words.count >= 4, words[0] == "queue", let action = Action(word: words[1]),
            let form = Form(rawValue: words[2]),
            let selection = QueueSelection(words: words[3...])
        else { return nil }
        self.init(action, selection, form: form)
    }
}

extension QueueRequest.Action {
    private static let words: [(String, Self)] = [
        ("list", .list), ("show", .show), ("why", .why), ("stats", .statistics),
        ("retry", .change(.retry)), ("hold", .change(.hold)), ("release", .change(.release)),
        ("delete", .change(.delete)),
    ]

    var word: String { Self.words.first { $0.1 == self }?.0 ?? "" }

    init?(word: String) {
        guard let action = Self.words.first(where: { $0.0 == word })?.1 else { return nil }
        self = action
    }
}

extension QueueSelection {
    fileprivate var words: [String] {
        switch self {
        case .all: ["all"]
        case .ids(let ids): ["ids"] + ids.map(\.description)
        case .domain(let domain): ["domain", "\(domain)"]
        case .state(let state): ["state", state.rawValue]
        case .sender(.null): ["sender", ""]
        case .sender(.mailbox(let mailbox)): ["sender", "\(mailbox)"]
        }
    }

    fileprivate init?(words: ArraySlice<String>) {
        guard let kind = words.first else { return nil }
        let values = words.dropFirst()
        switch (kind, values.first, values.count) {
        case ("all", nil, 0): self = .all
        case ("domain", let name?, 1):
            guard let domain = Domain(name) else { return nil }
            self = .domain(domain)
        case ("state", let name?, 1):
            guard let state = QueueState(rawValue: name) else { return nil }
            self = .state(state)
        case ("sender", let text?, 1):
            guard let path = ReversePath(argument: text) else { return nil }
            self = .sender(path)
        case ("ids", .some, _):
            let ids = values.compactMap { MessageID($0) }
            guard ids.count == values.count else { return nil }
            self = .ids(ids)
        default: return nil
        }
    }
}
