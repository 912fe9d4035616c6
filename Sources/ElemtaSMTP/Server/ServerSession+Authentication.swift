/// AUTH (RFC 4954) with PLAIN (RFC 4616) and LOGIN.
extension ServerSession {
    /// Failed logins of a session; the last of them closes it.
    private static let maximumFailedLogins: UInt8 = 5
    /// The longest that a failure is held back, seconds.
    private static let maximumLoginDelay = 5

    /// Whether AUTH may be said now, were nobody logged in.
    var isAuthenticationOffered: Bool {
        !parameters.offer.mechanisms.isEmpty
            && (tls != nil || !parameters.offer.authenticationNeedsTLS)
    }

    /// `"AUTH" SP sasl-mech [SP initial-response]`, RFC 4954 8.
    mutating func auth(_ line: Span<UInt8>, _ end: Int) -> Action {
        guard !parameters.offer.mechanisms.isEmpty else { return refuse(.notImplemented) }
        guard isIntroduced else { return refuse(.needsGreeting) }
        guard user == nil else { return refuse(.alreadyLoggedIn) }
        guard !isInTransaction else { return refuse(.notInTransaction) }
        guard isAuthenticationOffered else { return refuse(.loginNeedsTLS) }
        guard end < line.count else { return refuse(.authSyntax) }
        var wordEnd = end + 1
        while wordEnd < line.count, line[wordEnd] != .space { wordEnd += 1 }
        let word = line.extracting((end + 1)..<wordEnd)
        guard let mechanism = offeredMechanism(word) else { return refuse(.unknownMechanism) }
        phase = .idle
        guard wordEnd < line.count else { return challenge(mechanism) }
        return begin(mechanism, with: line.extracting((wordEnd + 1)..<line.count))
    }

    private func offeredMechanism(_ word: Span<UInt8>) -> SASLMechanism? {
        for mechanism in parameters.offer.mechanisms where word.isKeyword(mechanism.rawValue) {
            return mechanism
        }
        return nil
    }

    private mutating func challenge(_ mechanism: SASLMechanism) -> Action {
        switch mechanism {
        case .plain:
            phase = .authenticating(.plain)
            return .reply(.emptyChallenge)
        case .login:
            phase = .authenticating(.loginUser)
            return .reply(.userChallenge)
        }
    }

    private mutating func begin(
        _ mechanism: SASLMechanism, with initialResponse: Span<UInt8>
    ) -> Action {
        // RFC 4954 4: "=" is the response of no octets, which couldn't be told from none else.
        let isEmpty = initialResponse.count == 1 && initialResponse[0] == .equals
        guard let response = isEmpty ? [] : Base64.decode(initialResponse),
            isEmpty || !response.isEmpty
        else { return refuse(.undecodableResponse) }
        switch mechanism {
        case .plain: return proceed(.plain, response)
        case .login: return proceed(.loginUser, response)
        }
    }

    /// The client's answer to a challenge, a line without its end.
    mutating func respond(_ line: Span<UInt8>) -> Action {
        guard case .authenticating = phase, case .authenticating(let exchange) = takePhase()
        else { return .none }
        if line.count == 1, line[0] == UInt8(ascii: "*") { return refuse(.loginCancelled) }
        guard let response = Base64.decode(line) else { return refuse(.undecodableResponse) }
        return proceed(exchange, response)
    }

    private mutating func proceed(
        _ exchange: SASLExchange, _ response: consuming [UInt8]
    ) -> Action {
        switch exchange {
        case .plain:
            return plain(response)
        case .loginUser:
            phase = .authenticating(.loginPassword(user: response))
            return .reply(.passwordChallenge)
        case .loginPassword(let user):
            let password = response.indices
            guard
                let credentials = SASLCredentials(
                    user: user, message: response, password: password)
            else { return refuseLogin(of: nil) }
            return ask(.authenticate(credentials))
        }
    }

    /// `message = [authzid] UTF8NUL authcid UTF8NUL passwd`, RFC 4616 2.
    private mutating func plain(_ message: consuming [UInt8]) -> Action {
        guard let first = message.firstIndex(of: 0),
            let second = message[(first + 1)...].firstIndex(of: 0),
            !message[(second + 1)...].contains(0)
        else {
            SASLCredentials.wipe(&message)
            return refuse(.undecodableResponse)
        }
        let user = Array(message[(first + 1)..<second])
        let isSomebodyElse = first > 0 && !message[..<first].elementsEqual(user)
        let password = (second + 1)..<message.count
        let credentials = SASLCredentials(user: user, message: message, password: password)
        // Nobody may act for anybody else.
        guard let credentials, !isSomebodyElse else { return refuseLogin(of: credentials?.user) }
        return ask(.authenticate(credentials))
    }

    /// Credentials that can't be right are wrong whoever is asked, and count like others.
    private mutating func refuseLogin(of user: String?) -> Action {
        ask(.impossibleLogin(user: user))
    }

    private mutating func ask(_ question: Question) -> Action {
        phase = .asking(.authentication)
        return .ask(question)
    }

    // MARK: What came of it

    /// Takes the answer to `authenticate` or `impossibleLogin`. Without that question nothing happens.
    public mutating func resume(with outcome: AuthenticationOutcome) -> Action {
        guard case .asking(.authentication) = phase else { return .none }
        switch outcome {
        case .accepted(let user, let delay):
            self.user = user
            return hold(.reply(.loggedIn), seconds: delay)
        case .rejected(let delay):
            return loginFailed(delay: delay)
        case .unavailable:
            return loginUnavailable()
        }
    }

    mutating func loginUnavailable() -> Action {
        phase = .idle
        return refuse(.loginUnavailable)
    }

    /// Each failure is answered later than the one before: who guesses has to wait, and who has
    /// mistyped hardly notices.
    private mutating func loginFailed(delay: Int) -> Action {
        failedLoginCount += 1
        let own = min(Int(failedLoginCount), Self.maximumLoginDelay)
        let isLast = failedLoginCount >= Self.maximumFailedLogins
        return hold(
            isLast ? .close(.tooManyFailedLogins) : .reply(.loginFailed), seconds: max(own, delay))
    }

    // MARK: Delays

    mutating func hold(_ delayed: Delayed, seconds: Int) -> Action {
        phase = .delayed(delayed)
        return seconds > 0 ? .delay(seconds: seconds) : delayEnded()
    }

    /// The time of `Action.delay` is over. Without one nothing happens.
    public mutating func delayEnded() -> Action {
        guard case .delayed = phase, case .delayed(let delayed) = takePhase() else { return .none }
        switch delayed {
        case .reply(let reply): return .reply(reply)
        case .close(let reply): return close(reply)
        case .recipient(let transaction, let recipient): return ask(recipient, of: transaction)
        }
    }
}
