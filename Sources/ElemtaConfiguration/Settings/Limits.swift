public import ElemtaSMTP

extension Configuration {
    /// What clients may cost: `limits`.
    public struct Limits: Sendable, Equatable {
        /// Sessions in all; 0: what the descriptor limit allows. Default 0.
        public var maxConnections = 0
        /// Sessions of one address, never applied to `allowedRelays`; 0: the larger of 50 and 5 %
        /// of `maxConnections`. Default 0.
        public var maxConnectionsPerIP = 0
        /// 0: no limit. Default 0.
        public var messagesPerConnection = 0
        /// Messages of one address; beyond it 450 4.7.1 at MAIL. Default nil: off.
        public var ratePerIP: Rate?
        /// Recipients of one message; RFC 5321 4.5.3.1.8 asks for 100 at least. Default 1,000.
        public var maxRecipients = 1_000
        /// Errors of a session, then 421. Default 20.
        public var maxErrors = 20
        /// Seconds before the greeting; a client that talks first is refused. Default 0.
        public var greetDelay = 0
        /// The clients that may use XCLIENT. Default: none.
        public var xclientHosts: [IPSubnet] = []
        /// A line feed without a carriage return. Default `reject`.
        public var bareNewline = BareNewline.reject
        /// The clients for which `normalize` holds. Default: none.
        public var bareNewlineExempt: [IPSubnet] = []
        /// Seconds since the last complete command (RFC 5321 4.5.3.2). Default 300.
        public var commandTimeout = 300
        /// Seconds without progress in mail data. Default 600.
        public var dataTimeout = 600
        /// Seconds from MAIL to the end of data. Default 3,600.
        public var transactionTimeout = 3_600
        /// Seconds that a session may last; a transaction that runs then may end. Default 86,400.
        public var sessionTimeout = 86_400
        /// Seconds that running transactions get at SIGTERM. Default 10.
        public var shutdownTimeout = 10
        /// Octets of content, envelopes, partial lines and unsent replies of all sessions; beyond
        /// it 452 4.3.1. Always more than `spillThreshold`. Default 268,435,456 (256 MiB).
        public var memory = 268_435_456
        /// Octets of content that wait in memory; beyond it they go to a file.
        /// Default 262,144 (256 KiB).
        public var spillThreshold = 262_144

        public enum BareNewline: String, Sendable, CaseIterable {
            case reject, normalize
        }
    }
}
