import Glibc

@testable import ElemtaAuthentication

/// OpenLDAP's slapd on free ports of 127.0.0.1, with its own configuration and database.
///
/// Nobody but `cn=reader` may search, and passwords are for binding only.
final class DirectoryServer {
    static let entries = """
        dn: dc=example,dc=com
        objectClass: domain
        dc: example

        dn: cn=reader,dc=example,dc=com
        objectClass: organizationalRole
        objectClass: simpleSecurityObject
        cn: reader
        userPassword: reads

        dn: uid=alice,dc=example,dc=com
        objectClass: inetOrgPerson
        uid: alice
        cn: Alice
        sn: Example
        mail: alice@example.com
        userPassword: hunter2

        dn: uid=mute,dc=example,dc=com
        objectClass: inetOrgPerson
        uid: mute
        cn: Mute
        sn: Example
        mail: mute@example.com

        dn: uid=twin1,dc=example,dc=com
        objectClass: inetOrgPerson
        uid: twin1
        cn: Twin
        sn: Example
        mail: twin@example.com
        userPassword: hunter2

        dn: uid=twin2,dc=example,dc=com
        objectClass: inetOrgPerson
        uid: twin2
        cn: Twin
        sn: Example
        mail: twin@example.com
        userPassword: hunter2

        dn: uid=odd,dc=example,dc=com
        objectClass: inetOrgPerson
        uid: odd
        cn: Odd
        sn: Example
        mail: o*d(d)\\@example.com
        userPassword: hunter2

        """

    private let folder: TemporaryFolder
    private let arguments: [String]
    private let variables: [String]
    private var process: Program?
    let port: UInt16
    let securePort: UInt16
    /// What signed the server's certificate: itself. It is for 127.0.0.1 alone.
    var certificate: String { "\(folder.path)/cert.pem" }

    /// `scripts/dependencies test` unpacks the package; one that is installed does too.
    private static func package() throws(Program.Failure) -> (root: String, libraries: String) {
        for root in [".build-tools/slapd", ""]
        where unsafe access("\(root)/usr/sbin/slapd", X_OK) == 0 {
            let folders = ["x86_64", "aarch64"].flatMap {
                ["\(root)/usr/lib/\($0)-linux-gnu", "\(root)/lib/\($0)-linux-gnu"]
            }
            return (root, "LD_LIBRARY_PATH=\(folders.joined(separator: ":"))")
        }
        throw Program.Failure(reason: "no slapd: run scripts/dependencies test")
    }

    init() throws {
        let (root, libraries) = try Self.package()
        folder = try TemporaryFolder()
        port = try SilentListener().port
        securePort = try SilentListener().port
        let path = folder.path
        let openssl =
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
            + " -subj /CN=directory -addext subjectAltName=IP:127.0.0.1"
            + " -keyout \(path)/key.pem -out \(path)/cert.pem -batch"
        try Program(["/usr/bin/openssl"] + openssl.split(separator: " ").map(String.init))
            .awaitEnd()
        let schema = ["core", "cosine", "inetorgperson"].map {
            "include \(root)/etc/ldap/schema/\($0).schema"
        }
        try folder.file(
            "slapd.conf",
            """
            \(schema.joined(separator: "\n"))
            pidfile \(path)/pid
            argsfile \(path)/args
            TLSCertificateFile \(path)/cert.pem
            TLSCertificateKeyFile \(path)/key.pem
            database ldif
            suffix dc=example,dc=com
            directory \(path)
            access to attrs=userPassword by anonymous auth
            access to * by dn.exact=cn=reader,dc=example,dc=com read

            """)
        let entries = try folder.file("entries.ldif", Self.entries)
        variables = [libraries]
        let slapd = "\(root)/usr/sbin/slapd"
        try Program(
            [slapd, "-T", "add", "-f", "\(path)/slapd.conf", "-l", entries], variables: variables
        )
        .awaitEnd()
        arguments = [
            slapd, "-d", "0", "-f", "\(path)/slapd.conf", "-h",
            "ldap://127.0.0.1:\(port) ldaps://127.0.0.1:\(securePort)",
        ]
        try start()
    }

    /// Starts it, or starts it again on the same ports.
    func start() throws {
        process = try Program(arguments, variables: variables)
        let deadline = ContinuousClock.now + .seconds(30)
        while !SilentListener.isTaken(port) || !SilentListener.isTaken(securePort) {
            guard ContinuousClock.now < deadline else {
                throw Program.Failure(reason: "slapd doesn't answer")
            }
            sched_yield()
        }
    }

    func stop() {
        process?.end(by: SIGTERM)
        process = nil
    }

    /// What finds Alice.
    var settings: LDAPSettings {
        var settings = LDAPSettings(url: "ldap://127.0.0.1:\(port)")
        settings.baseDN = "dc=example,dc=com"
        settings.bindDN = "cn=reader,dc=example,dc=com"
        settings.bindPassword = Password("reads")
        settings.timeout = .seconds(10)
        return settings
    }
}
