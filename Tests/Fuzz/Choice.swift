import ElemtaSMTP

/// How an input is tested, as its first octets say.
struct Choice {
    /// Octets in front of what a stranger sends; the first of them is the mode.
    static let length = 5

    /// How the octets of a second run are cut.
    enum Way: UInt8 {
        case two, segments, pieces, octets
    }

    /// What the server offers: six bits, one for XCLIENT, and one for TLS that can't begin.
    private let offered: UInt8
    /// Its limits, and how the driver answers.
    let bits: UInt8
    let way: Way
    let segmentLength: Int
    let cut: Int

    init(_ octets: [UInt8]) {
        offered = octets[1]
        bits = octets[2]
        way = Way(rawValue: octets[3] & 3) ?? .two
        segmentLength = Int(octets[3] >> 2) + 1
        cut = Int(octets[4])
    }

    var mayUseXCLIENT: Bool { offered & 64 != 0 }
    var hasAuthentication: Bool { !parameters.offer.mechanisms.isEmpty }
    /// The content has come a long way.
    var isTravelled: Bool { bits & 128 != 0 }
    var disturbance: Int { segmentLength % 6 }

    /// All there are, made once: they are the dearest part of a session.
    private static let parameters = (0..<2048).map(makeParameters)

    var parameters: ServerParameters {
        Self.parameters[Int(offered & 63) << 5 | Int(bits & 31)]
    }

    private static func makeParameters(_ index: Int) -> ServerParameters {
        let limits = index & 31
        return ServerParameters(
            hostname: "mail.example.com", maximumMessageSize: limits & 2 == 0 ? 6000 : 40,
            maximumRecipients: limits & 4 == 0 ? 1000 : 2,
            maximumErrors: limits & 8 == 0 ? 1000 : 3,
            bareNewline: limits & 1 == 0 ? .reject : .normalize,
            maximumMessages: limits & 16 == 0 ? 0 : 1, offer: offer(index >> 5))
    }

    private static func offer(_ bits: Int) -> ServerOffer {
        var offer = ServerOffer()
        switch bits & 3 {
        case 0: offer.tls = .off
        case 1: offer.tls = .implicit
        case 2: offer.tls = .startTLS
        default:
            offer.tls = .startTLS
            offer.offersRequireTLS = false
        }
        offer.mechanisms = bits & 4 == 0 ? [] : [.plain, .login]
        offer.isDevelopment = bits & 8 != 0
        offer.authenticationNeedsTLS = bits & 16 != 0
        offer.authenticationIsRequired = bits & 32 != 0
        return offer
    }

    func driver(
        segmentLength: Int = .max, handshake: Policy.Handshake? = nil
    ) -> SessionDriver {
        SessionDriver(
            parameters: parameters,
            policy: Policy(
                content: bits & 32 == 0 ? nil : .insufficientStorage,
                commit: bits & 64 == 0 ? nil : .insufficientStorage,
                handshake: handshake ?? (offered & 128 == 0 ? .instant : .unavailable)),
            segmentLength: segmentLength, mayUseXCLIENT: mayUseXCLIENT)
    }

    /// What comes of `start`, sent whole, and of the pieces behind it.
    func transcript(
        _ start: [UInt8], _ pieces: [ArraySlice<UInt8>] = [], segmentLength: Int = .max
    ) -> Transcript {
        var driver = driver(segmentLength: segmentLength)
        driver.feed(start)
        for piece in pieces { driver.feed(piece) }
        check(driver.violations.isEmpty, "\(driver.violations)")
        return driver.transcript
    }
}
