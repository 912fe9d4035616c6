public import ElemtaSMTP

/// Who guessed how often: what an address may still try, and how long an answer waits.
///
/// Time is an input: a duration since any fixed point of a clock that doesn't step. A value of this
/// type belongs to one thread. It remembers a bounded number of addresses and accounts and, when an
/// attacker has more of them, forgets the ones that began to fail first.
public struct GuessingLimits: Sendable {
    /// The longest that an answer is held back.
    public static let maximumDelay = Duration.seconds(5)

    private let maximumFailures: Int
    private var addresses: WindowedCounts<IPAddress>
    /// By hash, since the names come from the attacker: two names that share one share a delay. So
    /// do names that differ by case, which are one to a directory.
    private var accounts: WindowedCounts<Int>

    /// `maximumFailures` is `auth.max_failures`, `failureWindow` `auth.failure_window`. `capacity`:
    /// addresses and, apart from them, accounts that are remembered; some 100 octets each.
    public init(maximumFailures: Int, failureWindow: Duration, capacity: Int = 65_536) {
        self.maximumFailures = maximumFailures
        addresses = WindowedCounts(window: failureWindow, capacity: capacity)
        accounts = WindowedCounts(window: failureWindow, capacity: capacity)
    }

    /// Whether `address` may have another password verified; else AUTH answers 454 4.7.0. The
    /// caller doesn't ask for addresses that are exempt.
    ///
    /// A window begins with an address's first failure and ends `failureWindow` later, with all
    /// that was counted in it.
    public func admits(_ address: IPAddress, at now: Duration) -> Bool {
        addresses.count(of: address.site, at: now) < maximumFailures
    }

    /// A password was wrong. `address` nil: it is exempt. Says how long after the credentials came
    /// the answer is sent.
    public mutating func recordFailure(
        from address: IPAddress?, user: String, at now: Duration
    ) -> Duration {
        if let address { recordFailure(from: address, at: now) }
        accounts.add(Self.account(user), at: now)
        return answerDelay(user: user, at: now)
    }

    /// A login failed that tells nothing of anybody's password: only the address has another failure.
    public mutating func recordFailure(from address: IPAddress, at now: Duration) {
        addresses.add(address.site, at: now)
    }

    /// A password was right: its account's further answers aren't held back any longer. Says how
    /// long after the credentials came this one is sent: if the right password were answered at
    /// once, a guesser would hang up on every other answer. It never is a reason to refuse.
    public mutating func recordSuccess(user: String, at now: Duration) -> Duration {
        let delay = answerDelay(user: user, at: now)
        accounts.clear(Self.account(user))
        return delay
    }

    private static func account(_ user: String) -> Int { user.lowercased().hashValue }

    private func answerDelay(user: String, at now: Duration) -> Duration {
        Self.delay(afterFailures: accounts.count(of: Self.account(user), at: now))
    }

    /// 1 s after the first failure, a second more after each further one, at most 5 s.
    static func delay(afterFailures count: Int) -> Duration {
        min(.seconds(max(count, 0)), maximumDelay)
    }
}
