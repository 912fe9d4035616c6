import CLibevent
import Glibc

/// A small HTTP/1.1 server on the loop, for programs that look after this one: libevent's `evhttp`.
///
/// Answers GET and HEAD, each on a connection of its own that is closed behind the response. Nothing
/// that a client does costs more than ``HTTPLimits`` allow: who is slow is cut off, and at most that
/// many are served at a time.
@safe public final class HTTPEndpoint {
    private let loop: EventLoop
    private let limits: HTTPLimits
    private let sockets: [ListeningSocket]
    private var server: HTTPServer
    private let respond: (HTTPRequest) -> HTTPResponse
    private var connections: [HTTPConnection] = []
    private var sweep: LoopTimer?
    private var quickSweep: LoopTimer?

    /// How often it is seen to that connections are accepted, after descriptors ran out.
    private static let sweepInterval = Duration.seconds(1)
    /// How often what is over is let go of, and what takes too long is cut off, while there is any.
    private static let quickInterval = Duration.milliseconds(50)

    /// The addresses with the ports that the kernel chose.
    public var boundAddresses: [SocketAddress] { sockets.map(\.boundAddress) }

    /// Connections that there are now.
    public var connectionCount: Int { connections.count }

    /// Serves from the loop's next turn on. `respond` runs on the loop and must not block.
    ///
    /// Throws what libevent says when it runs out of memory.
    public init(
        loop: EventLoop, sockets: [ListeningSocket], limits: HTTPLimits = HTTPLimits(),
        respond: @escaping (HTTPRequest) -> HTTPResponse
    ) throws(ReactorError) {
        self.loop = loop
        self.limits = limits
        self.sockets = sockets
        self.respond = respond
        server = try HTTPServer(on: loop.base, headerOctets: limits.headerOctets)
        for socket in sockets {
            try server.accept(from: socket.descriptor.number, on: loop.base)
        }
        // Safe because the server is freed by this object's deinit, so `context` points to a live
        // object whenever a callback runs.
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        unsafe server.setCallbacks(
            connected: { _, context in
                guard let context = unsafe context else { return nil }
                let endpoint = unsafe Unmanaged<HTTPEndpoint>.fromOpaque(context)
                    .takeUnretainedValue()
                return unsafe endpoint.connected()?.lent
            },
            requested: { request, context in
                guard let request = unsafe request, let context = unsafe context else { return }
                let endpoint = unsafe Unmanaged<HTTPEndpoint>.fromOpaque(context)
                    .takeUnretainedValue()
                unsafe endpoint.answer(request)
            },
            context: context)
        sweep = loop.every(Self.sweepInterval) { [unowned self] in lookAfterConnections() }
    }

    /// Nil, for want of memory: libevent makes one by itself then.
    private func connected() -> HTTPConnection? {
        guard let connection = HTTPConnection(on: loop.base) else { return nil }
        connections.append(connection)
        if quickSweep == nil {
            quickSweep = loop.every(Self.quickInterval) { [unowned self] in lookAfterConnections() }
        }
        if connections.count >= limits.connections { server.pause() }
        return connection
    }

    /// Also resumes what ran out of descriptors.
    private func lookAfterConnections() {
        // One that was cut off needs the loop's next turn to be over.
        connections.removeAll(where: \.isOver)
        if connections.isEmpty { quickSweep = nil }
        let isFull = connections.count >= limits.connections
        let now = MonotonicTime.now
        let lifetime = isFull ? limits.lifetimeWhenFull : limits.lifetime
        for connection in connections where now - connection.accepted >= lifetime {
            connection.cutOff()
        }
        if !isFull { server.resume() }
    }

    /// `request` is libevent's and lives until the reply is sent.
    @unsafe private func answer(_ request: OpaquePointer) {
        var response: HTTPResponse
        switch unsafe evhttp_request_get_command(request) {
        case EVHTTP_REQ_GET: response = unsafe respond(HTTPRequest(request))
        case EVHTTP_REQ_HEAD:
            response = unsafe respond(HTTPRequest(request))
            response.body = []
        default:
            response = HTTPResponse(
                .methodNotAllowed, fields: [("Allow", "GET, HEAD")], line: "only GET and HEAD")
        }
        // Safe because libevent copies the names and values, and has filled none of these itself.
        let fields = unsafe evhttp_request_get_output_headers(request)
        unsafe evhttp_add_header(fields, "Content-Type", response.contentType)
        unsafe evhttp_add_header(fields, "Connection", "close")
        for field in response.fields {
            unsafe evhttp_add_header(fields, field.name, field.value)
        }
        if let output = unsafe evhttp_request_get_output_buffer(request) {
            let body = response.body
            _ = unsafe Segments.append(body.span, to: output)
        }
        unsafe evhttp_send_reply(request, response.status.rawValue, response.status.phrase, nil)
    }
}

extension HTTPRequest {
    /// Copies what is asked for.
    @unsafe fileprivate init(_ request: OpaquePointer) {
        // Safe because the texts live as long as the request, and are copied here.
        let address = unsafe evhttp_request_get_evhttp_uri(request)
        let path = unsafe address.flatMap { unsafe evhttp_uri_get_path($0) }
        self.path = unsafe path.map { unsafe String(cString: $0) } ?? ""
        let fields = unsafe evhttp_request_get_input_headers(request)
        let authorization = unsafe evhttp_find_header(fields, "Authorization")
        self.authorization = unsafe authorization.map { unsafe String(cString: $0) }
    }
}
