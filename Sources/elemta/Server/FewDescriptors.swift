import ElemtaReactor

/// There are fewer descriptors than the server takes for itself: it would fail on the way, with the
/// queue open, wherever the last one happened to go.
struct FewDescriptors: Error, CustomStringConvertible {
    let limit: Int

    var description: String {
        "the descriptor limit is \(limit), and the server alone takes \(ConnectionLimits.ownDescriptors); "
            + "raise the hard limit: ulimit -Hn, LimitNOFILE= of the systemd unit, or docker run "
            + "--ulimit nofile="
    }

    /// Raises the limit to what the system allows, and throws where that isn't enough to begin.
    static func check() throws(FewDescriptors) {
        let limit = DescriptorLimit.raise().soft
        guard limit >= ConnectionLimits.ownDescriptors else { throw FewDescriptors(limit: limit) }
    }
}
