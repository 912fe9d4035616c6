import ElemtaConfiguration
import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Glibc
import Logging

/// What those learn who look after the server: `http.listen_addr`.
extension Server {
    /// HTTP connections at a time. They come out of the descriptors that are the server's own.
    static let monitoringConnections = 32

    /// How often the loop's lag is measured.
    private static let lagInterval = Duration.milliseconds(500)

    /// Answers `/metrics`, `/healthz` and `/readyz` at these sockets, also while the server drains.
    func monitor(at sockets: [ListeningSocket]) throws(ReactorError) -> HTTPEndpoint? {
        guard !sockets.isEmpty else { return nil }
        warnOfOpenMetrics()
        var limits = HTTPLimits()
        limits.connections = Self.monitoringConnections
        return try HTTPEndpoint(loop: loop, sockets: sockets, limits: limits) {
            [unowned self] request in answer(request)
        }
    }

    private func answer(_ request: HTTPRequest) -> HTTPResponse {
        switch request.path {
        case "/metrics":
            guard token?.isShown(by: request.authorization) != false else {
                return HTTPResponse(
                    .unauthorized, fields: [("WWW-Authenticate", "Bearer")],
                    line: "the token of http.token_file is wanted")
            }
            return HTTPResponse(
                .ok, contentType: MetricsText.contentType, body: MetricsPage.octets(of: self))
        case "/healthz": return HTTPResponse(.ok, line: "ok")
        case "/readyz":
            let obstacle = obstacle
            return HTTPResponse(
                obstacle == nil ? .ok : .serviceUnavailable, line: obstacle ?? "ok")
        case _: return HTTPResponse(.notFound, line: "here are /metrics, /healthz and /readyz")
        }
    }

    /// Why no mail is accepted now; nil when it is.
    var obstacle: String? {
        switch phase {
        case .starting: "starting"
        case .draining, .stopped: "draining"
        case .serving:
            if messages.isRefusing {
                "the spool cannot write"
            } else if messages.hasRoom {
                nil
            } else {
                "too little room for the queue"
            }
        }
    }

    var isReady: Bool { obstacle == nil }

    /// How much waits for which threads.
    var backlogs: [(pool: String, count: Int)] {
        let logins = logins.map { [("credentials", $0.backlog)] } ?? []
        let directories = recipients.map { [("recipients", $0.backlog)] } ?? []
        return logins + directories + messages.backlogs + [("log", logWriter.backlog)]
    }

    /// For `elemta status`.
    var status: ServerStatus {
        ServerStatus(
            processID: getpid(), begin: begin, now: SpoolOptions.systemClock(),
            obstacle: obstacle, isDevelopment: configuration.devMode,
            listeners: counters.listeners.map { .init(address: $0.address, connections: $0.open) },
            addresses: listeners.map { "\($0.boundAddress)" },
            http: monitoring?.boundAddresses.map(\.description) ?? [],
            connectionLimit: limits.maximum, census: messages.queue.census,
            queue: (try? messages.queue.statistics()) ?? SpoolStatistics(),
            memoryUsed: budget.used, memoryLimit: budget.limit)
    }

    /// A timer that says how late the loop is.
    func watchLoopLag() -> LoopTimer {
        var last = loop.now
        return loop.every(Self.lagInterval) { [unowned self] in
            let now = loop.now
            counters.observe(loopLag: now - last - Self.lagInterval)
            last = now
        }
    }

    private func warnOfOpenMetrics() {
        guard let warning = configuration.http.warning else { return }
        log.write(.metricsExposed, [.advice: "\(warning)"])
    }
}

extension Configuration.HTTP {
    /// What is risky about it; nil when nothing is.
    var warning: String? {
        guard let listenAddr, token == .none, !(listenAddr.host?.isLoopback ?? false)
        else { return nil }
        return "http.listen_addr \(listenAddr) is for everybody who reaches it: "
            + "set http.token_file, or listen on 127.0.0.1"
    }
}
