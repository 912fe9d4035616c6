import ElemtaReactor

/// Hands what happens to a connection to its session. One serves all of them: a weak reference to a
/// session would make it 48 octets larger.
final class SessionEvents: ConnectionDelegate {
    private let sessions: ConnectionTable<Session>

    init(_ sessions: ConnectionTable<Session>) {
        self.sessions = sessions
    }

    /// A session that is over isn't in the table any more, and hears nothing.
    func connection(_ connection: Connection, happened event: ConnectionEvent) {
        sessions[ConnectionID(token: connection.tag)]?.happened(event, on: connection)
    }
}
