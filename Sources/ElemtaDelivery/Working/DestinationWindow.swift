import ElemtaReactor

/// How many connections a destination may have: few at first, more while it takes what it gets,
/// fewer when it refuses, as Postfix's concurrency feedback has it (SCHEDULER_README).
///
/// Until a server has greeted it's one, and one more from time to time: a destination that hangs holds
/// no more than it has to.
///
/// Until the first refusal each message taken makes room for one connection more; afterwards it
/// takes as many messages as there are connections, so that a server with a limit of its own is
/// asked for more now and then and not all the time.
struct DestinationWindow {
    /// What a destination gets when a server has greeted.
    static let initial = 5
    /// After a refusal no further connection is opened for so long, while others stand.
    static let pause = Duration.seconds(10)

    var ceiling: Int {
        didSet { size = min(size, ceiling) }
    }
    private(set) var size: Int
    /// Connections that are tried before a server has greeted; nil: one has.
    private var trials: Int? = 1
    private var opensAgain: MonotonicTime?
    private var wasRefused = false
    /// Messages taken since the window grew last, after a refusal.
    private var successes = 0

    init(ceiling: Int, initial: Int = DestinationWindow.initial) {
        self.ceiling = max(1, ceiling)
        size = min(max(1, initial), self.ceiling)
    }

    var isOpen: Bool { trials == nil }

    /// A server has greeted. False: one had before.
    mutating func open() -> Bool {
        defer { trials = nil }
        return trials != nil
    }

    /// Nobody has greeted so far. False: no further connection is to be tried.
    mutating func tryAnother() -> Bool {
        guard let trials, trials < size else { return false }
        self.trials = trials + 1
        return true
    }

    /// A message was taken while there were so many connections. A window that isn't used doesn't
    /// grow: nothing is known of what lies beyond.
    mutating func messageTaken(connections: Int) {
        guard size < ceiling, connections + Self.initial > size else { return }
        successes += 1
        guard !wasRefused || successes >= size else { return }
        successes = 0
        size += 1
    }

    /// A connection couldn't be made, or the server asked us to go away (421).
    mutating func connectionRefused(at now: MonotonicTime) {
        wasRefused = true
        successes = 0
        size = max(1, size - 1)
        opensAgain = now + Self.pause
    }

    /// How many further connections may be opened now, beside those that there are.
    func room(beside connections: Int, at now: MonotonicTime) -> Int {
        if connections > 0, let opensAgain, now < opensAgain { return 0 }
        return max(0, min(size, trials ?? size) - connections)
    }
}
