import ElemtaThreads
import Synchronization
import Testing

@testable import ElemtaAuthentication

extension Credentials {
    init(_ user: String, _ password: String) {
        self.init(user: user, password: Password(password))
    }
}

/// A back end whose answer the test gives, when it wants to: credentials wait here until then.
private final class HeldBackend: AuthenticationBackend {
    let begun = Inbox<String>()
    let answers = Inbox<AuthenticationResult>()

    func verify(_ credentials: Credentials) -> AuthenticationResult {
        begun.post(credentials.user)
        return answers.takeOne() ?? .rejected
    }
}

@Suite("Credentials pool") struct CredentialsPoolTests {
    @Test("what doesn't fit into the queue is answered at once, and what fits is answered later")
    func bounded() throws {
        let backend = HeldBackend()
        let pool = try CredentialsPool(backend: backend, threads: 1, maximumWaiting: 2)
        let results = Inbox<AuthenticationResult>()
        pool.verify(Credentials("0", "x")) { results.post($0) }
        #expect(backend.begun.takeOne() == "0")
        for user in ["1", "2"] { pool.verify(Credentials(user, "x")) { results.post($0) } }
        #expect(results.count == 0)
        let isRefused = Mutex(false)
        pool.verify(Credentials("3", "x")) { result in
            isRefused.withLock { $0 = result == .temporarilyUnavailable }
        }
        #expect(isRefused.withLock { $0 })
        for user in ["0", "1", "2"] {
            backend.answers.post(.accepted(user: user, allowedSenders: nil))
            #expect(results.takeOne() == .accepted(user: user, allowedSenders: nil))
        }
        // There is room again.
        pool.verify(Credentials("4", "x")) { results.post($0) }
        backend.answers.post(.rejected)
        #expect(results.takeOne() == .rejected)
        pool.stop()
    }

    @Test("who has waited too long isn't verified any more")
    func patience() throws {
        let backend = HeldBackend()
        let pool = try CredentialsPool(backend: backend, threads: 1, patience: .zero)
        let results = Inbox<AuthenticationResult>()
        pool.verify(Credentials("late", "x")) { results.post($0) }
        #expect(results.takeOne() == .temporarilyUnavailable)
        #expect(backend.begun.count == 0)
        pool.stop()
    }

    @Test("several are verified at the same time")
    func concurrency() throws {
        let backend = HeldBackend()
        let pool = try CredentialsPool(backend: backend, threads: 3)
        let results = Inbox<AuthenticationResult>()
        for user in ["0", "1", "2"] { pool.verify(Credentials(user, "x")) { results.post($0) } }
        // None of them has been answered yet.
        let begun = Set([backend.begun.takeOne(), backend.begun.takeOne(), backend.begun.takeOne()])
        #expect(begun == ["0", "1", "2"])
        for _ in 0..<3 { backend.answers.post(.rejected) }
        for _ in 0..<3 { #expect(results.takeOne() == .rejected) }
        pool.stop()
    }

    @Test("everybody is answered once, also by a pool that stops or has stopped")
    func stop() throws {
        let backend = HeldBackend()
        let pool = try CredentialsPool(backend: backend, threads: 1)
        let results = Inbox<AuthenticationResult>()
        pool.verify(Credentials("0", "x")) { results.post($0) }
        #expect(backend.begun.takeOne() == "0")
        for _ in 0..<10 { pool.verify(Credentials("waiting", "x")) { results.post($0) } }
        let stopper = try NamedThread("stopper") { pool.stop() }
        backend.answers.post(.accepted(user: "0", allowedSenders: nil))
        // Whom the stop comes too late for is rejected by the back end.
        backend.answers.close()
        stopper.join()
        #expect(results.takeOne() == .accepted(user: "0", allowedSenders: nil))
        #expect(results.count == 10)
        pool.verify(Credentials("1", "x")) { results.post($0) }
        #expect(results.count == 11)
        results.close()
        var last: AuthenticationResult?
        while let result = results.takeOne() { last = result }
        #expect(last == .temporarilyUnavailable)
        pool.stop()
    }

    @Test("a pool may be let go by a completion on one of its own threads")
    func releasedByCompletion() throws {
        let backend = HeldBackend()
        backend.answers.post(.rejected)
        let done = Inbox<Bool>()
        do {
            let pool = try CredentialsPool(backend: backend, threads: 1)
            pool.verify(Credentials("0", "x")) { _ in
                withExtendedLifetime(pool) {}
                done.post(true)
            }
        }
        #expect(done.takeOne() == true)
    }
}
