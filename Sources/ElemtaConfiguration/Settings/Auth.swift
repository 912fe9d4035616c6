extension Configuration {
    /// Authentication of clients: `auth`.
    public struct Auth: Sendable, Equatable {
        /// Default false.
        public var enabled = false
        /// Nobody sends without having authenticated. Default false.
        public var required = false
        /// The mechanisms offered, in this order. Default plain, login.
        public var methods: [Method] = [.plain, .login]
        /// Default `file`.
        public var backend = Backend.file
        /// The users file. Default `/etc/elemta/users.json`.
        public var filePath = "/etc/elemta/users.json"
        /// AUTH is neither offered nor accepted in clear text. Default false.
        public var requireTLS = false
        /// Failures per address (IPv6: per /64) within `failureWindow`, after which AUTH answers
        /// 454 4.7.0. Default 30.
        public var maxFailures = 30
        /// Seconds. Default 600.
        public var failureWindow = 600
        public var ldap = LDAP()

        public enum Method: String, Sendable, CaseIterable {
            /// RFC 4616.
            case plain
            case login
        }

        public enum Backend: String, Sendable, CaseIterable {
            case file, ldap
        }
    }

    /// How a directory is asked: `auth.ldap`.
    public struct LDAP: Sendable, Equatable {
        /// `ldap://`, `ldaps://` or `ldapi://`. Default `ldap://localhost:389`.
        public var url = "ldap://localhost:389"
        /// Where the search begins. Default empty: the directory's root.
        public var baseDN = ""
        /// Who searches. Default empty: anonymous.
        public var bindDN = ""
        /// `bind_password_file`, or `ELEMTA_AUTH_LDAP_BIND_PASSWORD`. Default: none.
        public var bindPassword = SecretSource.none
        /// `{user}` stands for the name given. Default `(mail={user})`.
        public var userFilter = "(mail={user})"
        /// StartTLS on an `ldap://` connection. Default false.
        public var starttls = false
        /// The authorities to trust. Default nil: the system's.
        public var caFile: String?
        /// Seconds. Default 5.
        public var timeout = 5
    }

    /// TLS for clients: `tls`.
    public struct TLS: Sendable, Equatable {
        /// Default false.
        public var enabled = false
        /// PEM, the whole chain. Default `/etc/elemta/certs/cert.pem`.
        public var certFile = "/etc/elemta/certs/cert.pem"
        /// PEM. Default `/etc/elemta/certs/key.pem`.
        public var keyFile = "/etc/elemta/certs/key.pem"
        /// Further pairs, chosen by SNI. Default: none.
        public var certificates: [CertificatePair] = []
        /// Default TLS 1.2.
        public var minVersion = Version.tls12

        public enum Version: String, Sendable, CaseIterable {
            case tls12 = "1.2"
            case tls13 = "1.3"
        }

        public struct CertificatePair: Sendable, Equatable {
            public var certFile: String
            public var keyFile: String
        }
    }
}
