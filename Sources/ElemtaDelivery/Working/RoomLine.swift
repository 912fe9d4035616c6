import DequeModule
import ElemtaQueue
import ElemtaReactor

/// What is known about the servers of a destination.
enum Standing {
    /// Nothing yet.
    case unknown
    /// They said nothing in the first look, while others waited for the place.
    case silent
    /// One was ready for mail, or took it, then.
    case proven(MonotonicTime)

    /// How long a server's word counts: whoever answered an hour ago may hang now.
    static let proof = Duration.seconds(60)

    func isProven(at now: MonotonicTime) -> Bool {
        switch self {
        case .unknown, .silent: false
        case .proven(let since): now - since < Self.proof
        }
    }

    var isSilent: Bool {
        switch self {
        case .silent: true
        case .unknown, .proven: false
        }
    }
}

/// Destinations that wait for a connection to be free, in two lines: in the second are those that
/// were silent in their first look.
struct RoomLine {
    enum Turn { case first, second }

    private var first: Deque<Destination> = []
    private var second: Deque<Destination> = []

    var isEmpty: Bool { first.isEmpty && second.isEmpty }

    /// Whose turn it is. `secondIsDue`: the second line has less than its share of the connections.
    func turn(secondIsDue: Bool) -> Turn? {
        if !second.isEmpty, secondIsDue || first.isEmpty { return .second }
        return first.isEmpty ? nil : .first
    }

    mutating func join(_ destination: Destination, _ turn: Turn) {
        switch turn {
        case .first: first.append(destination)
        case .second: second.append(destination)
        }
    }

    mutating func next(secondIsDue: Bool) -> Destination? {
        switch turn(secondIsDue: secondIsDue) {
        case .first: first.popFirst()
        case .second: second.popFirst()
        case nil: nil
        }
    }

    func contains(where isWanted: (Destination) -> Bool) -> Bool {
        first.contains(where: isWanted) || second.contains(where: isWanted)
    }
}
