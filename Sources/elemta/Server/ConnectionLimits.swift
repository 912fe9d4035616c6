import ElemtaSMTP

/// How many clients there are, in all and from each address, against `limits.max_connections` and
/// `limits.max_connections_per_ip`, for which an IPv6 /64 is one address. Reactor thread only.
struct ConnectionLimits {
    enum Verdict: Equatable {
        case admit
        /// `limits.max_connections` is reached.
        case tooMany
        /// `limits.max_connections_per_ip` is reached for this address.
        case tooManyFromAddress
    }

    /// Descriptors that are neither clients' nor deliveries': content files, and the server's own.
    static let contentFileDescriptors = 512
    static let ownDescriptors = 64

    private(set) var maximum: Int
    private(set) var maximumPerAddress: Int
    private(set) var count = 0
    private var perAddress: [IPAddress: Int] = [:]

    /// `maximum` is lowered to what the descriptor limit leaves beside `outbound` deliveries; 0 is that.
    /// `perAddress` 0: the larger of 50 and 5 % of the maximum.
    init(maximum: Int, perAddress: Int, outbound: Int, descriptors: Int) {
        let room = descriptors - outbound - Self.contentFileDescriptors - Self.ownDescriptors
        // At least a handful: with a tiny descriptor limit a slow server beats none.
        self.maximum = min(maximum > 0 ? maximum : Int.max, max(room, 16))
        maximumPerAddress = perAddress > 0 ? perAddress : max(50, self.maximum / 20)
    }

    /// The same clients, other limits; nobody has to go for it.
    mutating func change(to other: ConnectionLimits) {
        maximum = other.maximum
        maximumPerAddress = other.maximumPerAddress
    }

    /// Clients that a server without `limits.max_connections` should have room for.
    private static let expectedClients = 1_000

    /// Descriptors that so many clients (0: as many as should have room) and deliveries need.
    static func descriptors(maximum: Int, outbound: Int) -> Int {
        (maximum > 0 ? maximum : expectedClients) + outbound + contentFileDescriptors
            + ownDescriptors
    }

    /// Counts one more client from `address`, or says why not. Addresses that may relay are known
    /// and often many behind one (`isExempt`): only the total holds for them.
    mutating func admit(_ address: IPAddress, isExempt: Bool) -> Verdict {
        guard count < maximum else { return .tooMany }
        guard take(address, isExempt: isExempt) else { return .tooManyFromAddress }
        count += 1
        return .admit
    }

    /// A client that was counted for `former`, who spoke for it, is counted for its own address from
    /// now on. False: there are too many of that address, and nothing has changed.
    mutating func move(from former: IPAddress, to address: IPAddress, isExempt: Bool) -> Bool {
        guard take(address, isExempt: isExempt) else { return false }
        leave(former)
        return true
    }

    /// A client that was admitted is gone.
    mutating func release(_ address: IPAddress) {
        count -= 1
        leave(address)
    }

    private mutating func take(_ address: IPAddress, isExempt: Bool) -> Bool {
        let ofAddress = perAddress[address.site, default: 0]
        guard isExempt || ofAddress < maximumPerAddress else { return false }
        perAddress[address.site] = ofAddress + 1
        return true
    }

    private mutating func leave(_ address: IPAddress) {
        guard let ofAddress = perAddress[address.site] else { return }
        perAddress[address.site] = ofAddress > 1 ? ofAddress - 1 : nil
    }
}
