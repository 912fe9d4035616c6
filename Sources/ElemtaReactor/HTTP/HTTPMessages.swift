/// What a client of an ``HTTPEndpoint`` asks for with GET or HEAD; other methods never come so far.
public struct HTTPRequest: Sendable {
    /// The path as it was sent, percent-encoded, without the query.
    public let path: String
    /// The value of the `Authorization` field (RFC 9110 11.6.2); nil without one.
    public let authorization: String?
}

/// The answer to an ``HTTPRequest``. The body of one to HEAD isn't sent.
public struct HTTPResponse: Sendable {
    /// The status codes that an endpoint of ours says (RFC 9110 15).
    public enum Status: Int32, Sendable {
        case ok = 200
        case unauthorized = 401
        case notFound = 404
        case methodNotAllowed = 405
        case serviceUnavailable = 503

        var phrase: String {
            switch self {
            case .ok: "OK"
            case .unauthorized: "Unauthorized"
            case .notFound: "Not Found"
            case .methodNotAllowed: "Method Not Allowed"
            case .serviceUnavailable: "Service Unavailable"
            }
        }
    }

    public var status: Status
    /// Name and value of fields beside `Content-Type`. Never octets that a client has sent.
    public var fields: [(name: String, value: String)]
    public var contentType: String
    public var body: [UInt8]

    public init(
        _ status: Status, fields: [(name: String, value: String)] = [],
        contentType: String = "text/plain; charset=utf-8", body: [UInt8]
    ) {
        self.status = status
        self.fields = fields
        self.contentType = contentType
        self.body = body
    }

    /// One line of text.
    public init(
        _ status: Status, fields: [(name: String, value: String)] = [], line: String
    ) {
        self.init(status, fields: fields, body: Array("\(line)\n".utf8))
    }
}

/// What a client of an ``HTTPEndpoint`` may cost.
public struct HTTPLimits: Sendable {
    /// Connections at a time; whoever comes then waits in the kernel's backlog.
    public var connections = 32
    /// Octets of the request line and the fields together.
    public var headerOctets = 8192
    /// From being accepted to the last octet of the response, whatever the client does meanwhile.
    public var lifetime = Duration.seconds(5)
    /// The same while there are as many connections as there may be.
    public var lifetimeWhenFull = Duration.milliseconds(250)

    public init() {}
}
