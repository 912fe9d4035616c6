import ElemtaSMTP

/// How many clients there are, in all and from each address, against `limits.max_connections` and
/// `limits.max_connections_per_ip`. Reactor thread only.
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

    let maximum: Int
    let maximumPerAddress: Int
    private(set) var count = 0
    private var perAddress: [IPAddress: Int] = [:]

    /// `maximum` 0: what the descriptor limit leaves beside `outbound` deliveries. `perAddress` 0:
    /// the larger of 50 and 5 % of the maximum.
    init(maximum: Int, perAddress: Int, outbound: Int, descriptors: Int) {
        let room = descriptors - outbound - Self.contentFileDescriptors - Self.ownDescriptors
        // At least a handful: with a tiny descriptor limit a slow server beats none.
        self.maximum = maximum > 0 ? maximum : max(room, 16)
        maximumPerAddress = perAddress > 0 ? perAddress : max(50, self.maximum / 20)
    }

    /// Counts one more client from `address`, or says why not. Addresses that may relay are known
    /// and often many behind one (`isExempt`): only the total holds for them.
    mutating func admit(_ address: IPAddress, isExempt: Bool) -> Verdict {
        guard count < maximum else { return .tooMany }
        let fromAddress = perAddress[address, default: 0]
        guard isExempt || fromAddress < maximumPerAddress else { return .tooManyFromAddress }
        perAddress[address] = fromAddress + 1
        count += 1
        return .admit
    }

    /// A client that was admitted is gone.
    mutating func release(_ address: IPAddress) {
        count -= 1
        guard let fromAddress = perAddress[address] else { return }
        perAddress[address] = fromAddress > 1 ? fromAddress - 1 : nil
    }
}
