public import ElemtaSMTP

/// How many messages are in which state, and how old they are: kept while messages come, move on and
/// go, so that nobody has to walk through a million of them to know.
///
/// A message is counted by the half minute in which it came, which its id tells: it costs no memory of
/// its own, and a queue that fills for two weeks costs some 40,000 half minutes, about 2 MiB.
public struct QueueCensus: Sendable {
    private struct States {
        var counts: (active: UInt32, deferred: UInt32, hold: UInt32, failed: UInt32) = (0, 0, 0, 0)
        var isEmpty: Bool { counts == (0, 0, 0, 0) }

        subscript(state: QueueState) -> UInt32 {
            get {
                switch state {
                case .active: counts.active
                case .deferred: counts.deferred
                case .hold: counts.hold
                case .failed: counts.failed
                }
            }
            set {
                switch state {
                case .active: counts.active = newValue
                case .deferred: counts.deferred = newValue
                case .hold: counts.hold = newValue
                case .failed: counts.failed = newValue
                }
            }
        }
    }

    /// How exactly an age is known, seconds.
    public static let resolution: Int64 = 30

    /// By seconds since 1970 over `resolution`.
    private var slots: [Int64: States] = [:]
    /// Grows with every change.
    private(set) var revision: UInt64 = 0

    public init() {}

    public mutating func add(_ id: MessageID, in state: QueueState) {
        revision &+= 1
        slots[Self.slot(of: id), default: States()][state] += 1
    }

    /// Takes out what was added in this state.
    public mutating func remove(_ id: MessageID, in state: QueueState) {
        revision &+= 1
        let slot = Self.slot(of: id)
        guard var states = slots[slot], states[state] > 0 else { return }
        states[state] -= 1
        slots[slot] = states.isEmpty ? nil : states
    }

    /// Ids begin with the time in nanoseconds since 1970.
    private static func slot(of id: MessageID) -> Int64 {
        Int64(id.rawValue / 1_000_000_000) / resolution
    }

    /// Hands over how many messages in `state` have which age, seconds, as far as it is known: the
    /// greatest that the messages of one half minute can have.
    public func forEachAge(
        in state: QueueState, at now: UnixTime, _ body: (_ age: Int64, _ count: Int) -> Void
    ) {
        for (slot, states) in slots where states[state] > 0 {
            body(max(0, now.seconds - slot * Self.resolution), Int(states[state]))
        }
    }

    /// How many messages are in `state`.
    public func count(in state: QueueState) -> Int {
        slots.values.reduce(0) { $0 + Int($1[state]) }
    }
}

extension QueuedMessage {
    /// What the message does now, all in all.
    var queueState: QueueState {
        switch groups {
        case .one(let group):
            return isHeld && group.state.word != .failed ? .hold : group.state.word
        case .several(let groups):
            if isHeld { return .hold }
            var state = QueueState.failed
            for group in groups {
                switch group.state.word {
                case .active: return .active
                case .deferred, .hold: state = .deferred
                case .failed: break
                }
            }
            return state
        }
    }
}

extension QueuedMessage.State {
    fileprivate var word: QueueState {
        switch self {
        case .ready, .out, .answered: .active
        case .behind, .waiting: .deferred
        case .held: .hold
        case .retained: .failed
        }
    }
}
