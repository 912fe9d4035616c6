import ElemtaReactor
import ElemtaSMTP
import Glibc

extension ReactorError {
    /// Nothing is wrong with the peer: this process or this machine has no room for a socket now.
    var isLackOfDescriptors: Bool {
        switch code {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: true
        default: false
        }
    }
}

/// Connects to the first of several addresses that answers (RFC 8305): each gets a start over the
/// next, and what hangs is overtaken. Hosts that come later by preference wait until all before
/// them have failed.
///
/// Belongs to its worker's thread.
final class HostRace: ConnectionDelegate {
    enum Outcome {
        /// `left`: what wasn't tried to its end.
        case connected(Connection, DeliveryTarget, left: [DeliveryTarget])
        /// Nobody answered.
        case lost
        /// No socket was to be had.
        case noDescriptors
    }

    /// RFC 8305 5: Connection Attempt Delay.
    static let headStart = Duration.milliseconds(250)
    /// Connections that are tried side by side, at most.
    static let maximumAttempts = 4

    private struct Attempt {
        let target: DeliveryTarget
        let connection: Connection
    }

    private unowned let worker: DeliveryWorker
    private let failed: (DeliveryTarget, ReactorError) -> Void
    private let overtaken: (DeliveryTarget) -> Void
    private let ended: (Outcome) -> Void
    private var waiting: ArraySlice<DeliveryTarget>
    private var attempts: [Attempt] = [] {
        didSet { worker.racerCount += max(0, attempts.count - 1) - max(0, oldValue.count - 1) }
    }
    private var timer: LoopTimer?
    private var isOver = false

    /// `failed` hears of each address that doesn't answer, `overtaken` of each that was begun before
    /// the one that did; `ended` is called once, perhaps inside
    /// `start`.
    init(
        worker: DeliveryWorker, targets: [DeliveryTarget],
        failed: @escaping (DeliveryTarget, ReactorError) -> Void,
        overtaken: @escaping (DeliveryTarget) -> Void,
        ended: @escaping (Outcome) -> Void
    ) {
        self.worker = worker
        waiting = targets[...]
        self.failed = failed
        self.overtaken = overtaken
        self.ended = ended
    }

    /// Once.
    func start() { beginNext() }

    /// Gives up: nothing is told any more.
    func cancel() {
        isOver = true
        timer = nil
        worker.waitingRaces[ObjectIdentifier(self)] = nil
        for attempt in attempts { attempt.connection.close() }
        attempts = []
    }

    /// Those that are being tried.
    var underWay: [DeliveryTarget] { attempts.map(\.target) }

    /// At the start, when an attempt has failed, when the latest has had its head start, and when
    /// there is room after that.
    func beginNext() {
        timer = nil
        worker.waitingRaces[ObjectIdentifier(self)] = nil
        var hasBegun = false
        while !isOver, !hasBegun, let next = waiting.first, mayBegin(next) {
            waiting.removeFirst()
            hasBegun = begin(next)
        }
        if isOver { return }
        guard let first = attempts.first else { return end(.lost) }
        guard let next = waiting.first, mayRace(next, first) else { return }
        if hasBegun {
            timer = worker.loop.after(Self.headStart) { [weak self] in self?.beginNext() }
        } else {
            worker.waitingRaces[ObjectIdentifier(self)] = self
        }
    }

    private func mayBegin(_ next: DeliveryTarget) -> Bool {
        guard let first = attempts.first else { return true }
        return mayRace(next, first) && worker.hasRoom
    }

    private func mayRace(_ next: DeliveryTarget, _ first: Attempt) -> Bool {
        next.preference == first.target.preference && attempts.count < Self.maximumAttempts
    }

    /// False: it has failed already.
    private func begin(_ target: DeliveryTarget) -> Bool {
        do throws(ReactorError) {
            let connection = try Connection.connect(
                loop: worker.loop, to: target.address, from: worker.source(for: target.address),
                timeout: worker.settings.connectTimeout, delegate: self)
            attempts.append(Attempt(target: target, connection: connection))
            return true
        } catch {
            guard error.isLackOfDescriptors else {
                failed(target, error)
                return false
            }
            waiting = [target] + waiting
            worker.beginShortage()
            // Those that are under way may get there.
            if attempts.isEmpty { end(.noDescriptors) }
            return true
        }
    }

    func connection(_ connection: Connection, happened event: ConnectionEvent) {
        guard !isOver, let index = attempts.firstIndex(where: { $0.connection === connection })
        else { return }
        switch event {
        case .connected:
            for slower in attempts[..<index] { overtaken(slower.target) }
            let attempt = attempts.remove(at: index)
            let left = attempts.map(\.target) + waiting
            end(.connected(connection, attempt.target, left: left))
        case .failed(let error):
            let attempt = attempts.remove(at: index)
            failed(attempt.target, error)
            beginNext()
        case .closed, .closedByPeer, .drained, .readable, .tlsEstablished, .unsentBelowLimit: break
        }
    }

    private func end(_ outcome: Outcome) {
        cancel()
        ended(outcome)
    }
}
