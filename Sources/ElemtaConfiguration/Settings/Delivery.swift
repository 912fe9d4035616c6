public import ElemtaSMTP

extension Configuration {
    /// How mail leaves: `delivery`.
    public struct Delivery: Sendable, Equatable {
        /// The smarthost for what no route takes. Default nil: MX.
        public var relayHost: NextHop?
        /// TLS towards `relayHost`. Default `opportunistic`.
        public var relayTLS = TLSPolicy.opportunistic
        /// Default nil: no authentication.
        public var relayUsername: String?
        /// `relay_password_file`, or `ELEMTA_DELIVERY_RELAY_PASSWORD`. Default: none.
        public var relayPassword = SecretSource.none
        /// The password may be sent without TLS. Default false.
        public var relayAuthInClear = false
        /// The first that matches wins, before `relayHost` and MX. Default: none.
        public var routes: [Route] = []
        /// Outbound connections in all. Default 2,000.
        public var maxConnections = 2_000
        /// The ceiling of a window that starts at 5. Default 20.
        public var maxConnectionsPerDestination = 20
        /// Seconds that a kept connection waits for more mail. Default 5.
        public var idleConnection = 5
        /// Default 100.
        public var messagesPerConnection = 100
        /// Default: none.
        public var rate: [DestinationRate] = []
        /// The name in EHLO. Default nil: `hostname`.
        public var heloName: Domain?
        /// Source addresses, IPv4 and IPv6. Default: none, the kernel chooses.
        public var bind: [IPAddress] = []
        /// Seconds. Default 30.
        public var connectTimeout = 30
        /// Default: none, those of resolv.conf.
        public var dnsServers: [ServerAddress] = []

        public enum TLSPolicy: String, Sendable, CaseIterable {
            case off, opportunistic, required
        }

        /// One entry of `delivery.routes`.
        public struct Route: Sendable, Equatable {
            public var domain: DomainPattern
            public var deliver: DeliveryMethod
            /// Default `opportunistic`.
            public var tls = TLSPolicy.opportunistic

            public init(domain: DomainPattern, deliver: DeliveryMethod) {
                self.domain = domain
                self.deliver = deliver
            }
        }

        /// One entry of `delivery.rate`: messages to a domain.
        public struct DestinationRate: Sendable, Equatable {
            public var domain: DomainPattern
            public var limit: Rate
        }
    }

    /// The spool and its schedule: `queue`.
    public struct Queue: Sendable, Equatable {
        /// Delivery threads. Default 5.
        public var maxWorkers = 5
        /// Delivery attempts in all. Default 30.
        public var maxRetries = 30
        /// Seconds until a message bounces. Default 432,000 (five days).
        public var maxQueueTime = 432_000
        /// Seconds between attempts; the last repeats. Never empty.
        /// Default 60, 300, 900, 3600, 10800, 21600.
        public var retrySchedule = [60, 300, 900, 3_600, 10_800, 21_600]
        /// Seconds until a delay report, when NOTIFY asks; 0: never. Default 14,400.
        public var delayWarning = 14_400
        /// Seconds that failed messages stay to be looked at. Default 604,800 (a week).
        public var failedRetention = 604_800
        /// Octets that stay free on the file system. Default nil: the smaller of 64 MiB and 2 %.
        public var minFree: Int?
        /// A queue on NFS, CIFS, 9p or FUSE is not an error. Default false.
        public var allowNetworkFilesystem = false
    }
}
