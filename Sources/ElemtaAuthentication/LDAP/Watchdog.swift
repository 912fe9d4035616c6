import ElemtaThreads
import Glibc

/// The socket under a connection of libldap's, so that a call can be ended from outside.
final class LDAPSocket: Sendable {
    private struct State {
        /// A duplicate, ours to close: libldap may close its own at any time.
        var descriptor: Int32?
        var isCut = false
    }

    private let state = Locked(State())

    deinit { closed() }

    /// libldap has connected.
    func opened(_ descriptor: Int32) {
        closed()
        state.withLock { state in
            let copy = dup(descriptor)
            state.descriptor = copy < 0 ? nil : copy
            if state.isCut { shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
    }

    /// libldap gives the connection up.
    func closed() {
        state.withLock { state in
            if let descriptor = state.descriptor { close(descriptor) }
            state.descriptor = nil
        }
    }

    /// Every read and write of libldap's fails from now on.
    func cut() {
        state.withLock { state in
            state.isCut = true
            if let descriptor = state.descriptor { shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
    }
}

/// Ends calls of libldap's that don't end by themselves.
///
/// libldap 2.5 on GnuTLS forgets its timeouts during a TLS handshake: it reads in a circle until
/// the server says something. A server that says nothing, or half of a record, would hold a thread
/// (and a processor) for ever.
final class Watchdog: Sendable {
    private struct Alarm {
        let socket: LDAPSocket
        let instant: ContinuousClock.Instant
    }

    private struct State {
        var alarms: [ObjectIdentifier: Alarm] = [:]
        var isStopped = false
    }

    private let state = Locked(State())
    /// The elements say nothing: there is an alarm where there was none.
    private let wakeUps = Inbox<Void>()
    /// The same for every call, so that what is new is never the first to ring.
    private let limit: Duration
    /// Nil once it has been joined.
    private let thread = Locked<NamedThread?>(nil)

    private init(limit: Duration) {
        self.limit = limit
    }

    /// Starts its thread, which ends with `stop()`.
    static func start(limit: Duration) throws(ThreadError) -> Watchdog {
        let watchdog = Watchdog(limit: limit)
        let thread = try NamedThread("elemta-ldap") { watchdog.run() }
        watchdog.thread.withLock { $0 = thread }
        return watchdog
    }

    /// Cuts every socket that is being watched, and whichever will be; ends the thread, which never
    /// waits for anybody else.
    func stop() {
        state.withLock { state in
            state.isStopped = true
            for alarm in state.alarms.values { alarm.socket.cut() }
        }
        wakeUps.close()
        thread.withLock { $0.take() }?.join()
    }

    /// Runs `body`; when it takes too long `socket` is cut, which makes it fail.
    func watching<Result, Failure>(
        _ socket: LDAPSocket, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let key = ObjectIdentifier(socket)
        let alarm = Alarm(socket: socket, instant: .now + limit)
        let isFirst = state.withLock { state in
            if state.isStopped { socket.cut() }
            state.alarms[key] = alarm
            return state.alarms.count == 1
        }
        if isFirst { wakeUps.post(()) }
        defer { _ = state.withLock { $0.alarms.removeValue(forKey: key) } }
        return try body()
    }

    private func run() {
        while true {
            let now = ContinuousClock.now
            let next = state.withLock { state in
                for alarm in state.alarms.values where alarm.instant <= now { alarm.socket.cut() }
                state.alarms = state.alarms.filter { $0.value.instant > now }
                return state.alarms.values.map(\.instant).min()
            }
            if case .closed = wakeUps.take(within: next.map { now.duration(to: $0) }) { return }
        }
    }
}
