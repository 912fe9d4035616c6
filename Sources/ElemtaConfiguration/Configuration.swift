public import ElemtaSMTP

/// Every setting of an Elemta server, complete and checked.
///
/// `load(explicitPath:environment:overrides:)` makes one from a file and the environment. The names
/// are those of the file in camel case. Times are in seconds, sizes in octets. A setting whose
/// default in the file is the empty string is nil here.
public struct Configuration: Sendable, Equatable {
    /// What the server calls itself in its greeting, `Received` and reports; ASCII.
    /// Default: the system's host name.
    public var hostname: Domain

    /// Where clients are received; never empty after loading. `listen_addr`, which excludes
    /// `listeners`, is one listener with the defaults. Default: all addresses, port 2525.
    public var listeners: [Listener] = []

    /// `listen_addr` until it has become a listener.
    var listenAddr: ListenAddress?

    /// The user to become after binding when started as root. Default nil: stay.
    public var user: String?

    /// The directory of the spool. Default `./queue`.
    public var queueDir = "./queue"

    /// The largest message accepted, in octets; `max_size` is another name. Default 26,214,400.
    public var maxMessageSize = 26_214_400

    /// Accepted messages are shown, not queued. Default false.
    public var devMode = false

    /// The domains for which anyone may send. Never holds `.any`. Default: none.
    public var localDomains: [DomainPattern] = []

    /// Where `<Postmaster>` without a domain goes. Default nil: postmaster at `hostname`.
    public var postmaster: Mailbox?

    /// Who exists in a local domain; in a domain without an entry everybody does. Default: none.
    public var recipients: [RecipientLookup] = []

    /// The clients that may send anywhere. Nil, when the key is absent: loopback and the Docker
    /// networks, which is for the server to find out. Empty: nobody.
    public var allowedRelays: [IPSubnet]?

    public var auth = Auth()
    public var tls = TLS()
    public var queue = Queue()
    public var delivery = Delivery()
    public var limits = Limits()
    public var logging = Logging()
    public var http = HTTP()

    /// Every default, with a host name that the caller found. It has no listener yet.
    init(hostname: Domain) {
        self.hostname = hostname
    }
}

extension Configuration {
    /// One entry of `listeners`.
    public struct Listener: Sendable, Equatable {
        public var address: ListenAddress

        /// Only authenticated clients may send. Default false.
        public var authRequired = false

        /// RFC 6409 section 8: a missing Date and Message-ID are added. Default false.
        public var submission = false

        /// Default `starttls`, which is offered when `tls.enabled`.
        public var tls = TLSMode.starttls

        /// The PROXY protocol, v1 and v2, is expected, from `trustedProxies` alone. Default false.
        public var proxyProtocol = false

        /// Never empty with `proxyProtocol`. Default: none.
        public var trustedProxies: [IPSubnet] = []

        public init(address: ListenAddress) {
            self.address = address
        }

        public enum TLSMode: String, Sendable, CaseIterable {
            case starttls, implicit, off
        }
    }

    /// How the recipients of one local domain are looked up.
    public struct RecipientLookup: Sendable, Equatable {
        public var domain: DomainPattern
        public var source: Source

        public enum Source: Sendable, Equatable {
            /// A file: an address a line, or `alias: target, target`.
            case file(String)
            case ldap(LDAP)
            /// Ask the domain's route at RCPT.
            case callout
        }
    }

    /// Logging: `logging`.
    public struct Logging: Sendable, Equatable {
        /// Default `info`.
        public var level = Level.info
        /// Default `text`.
        public var format = Format.text
        /// A file besides standard output, reopened at SIGHUP. Default nil: none.
        public var file: String?

        public enum Level: String, Sendable, CaseIterable {
            case debug, info, warning, error
        }

        public enum Format: String, Sendable, CaseIterable {
            case text, json
        }
    }

    /// The HTTP endpoint with /metrics, /healthz and /readyz: `http`.
    public struct HTTP: Sendable, Equatable {
        /// Default nil: no endpoint.
        public var listenAddr: ListenAddress?
        /// The bearer token that a client must show: `token_file`, or `ELEMTA_HTTP_TOKEN`.
        /// Default: none.
        public var token = SecretSource.none
    }
}
