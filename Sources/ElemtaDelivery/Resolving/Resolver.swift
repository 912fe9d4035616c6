import ElemtaReactor
import ElemtaSMTP

/// Finds the hosts of next hops; one for all workers, so that they share its cache.
///
/// Its thread watches libunbound's descriptor and takes questions by message; every answer is given
/// on that thread.
final class Resolver: Sendable {
    /// How long one search may take. libunbound gives up on its own, but not within a bound.
    static let limit = Duration.seconds(60)

    private enum Message: Sendable {
        case find(RemoteServer, answer: @Sendable (Resolution) -> Void)
        case change(OwnHosts)
        case stop
    }

    private let thread: LoopThread<Message>

    /// `servers` as in `delivery.dns_servers`: `192.0.2.1:53`, `192.0.2.1`, `[2001:db8::1]:53`.
    /// Empty: the system's. Mail exchangers from `ownHosts` on are left out.
    init(servers: [String], ownHosts: OwnHosts) throws(DeliveryError) {
        var forwarders: [String] = []
        for server in servers { forwarders.append(try Self.forwarder(server)) }
        let names = forwarders
        thread = try LoopThread("elemta-dns") { loop throws(DeliveryError) in
            let side = try LoopSide(loop: loop, servers: names, ownHosts: ownHosts)
            return { messages in
                for message in messages { side.receive(message) }
            }
        }
    }

    private static func forwarder(_ text: String) throws(DeliveryError) -> String {
        let server =
            RemoteServer(relayHost: text, defaultPort: 53)
            ?? IPAddress(text).map { RemoteServer(.address($0), port: 53) }
        guard let server, case .address(let address) = server.host else { throw .dnsServer(text) }
        return "\(address)@\(server.port)"
    }

    /// Any thread; `answer` is called once, on the resolver's thread, and hands on what it gets.
    func find(_ server: RemoteServer, answer: @escaping @Sendable (Resolution) -> Void) {
        thread.post(.find(server, answer: answer))
    }

    /// Mail exchangers from these on are left out from now on.
    func change(_ ownHosts: OwnHosts) {
        thread.post(.change(ownHosts))
    }

    /// Ends the thread; questions that are open stay unanswered.
    func stop() {
        thread.post(.stop)
        thread.join()
    }

    private final class LoopSide {
        private unowned let loop: EventLoop
        private let context: UnboundContext
        private let watch: DescriptorWatch
        private var ownHosts: OwnHosts

        init(
            loop: EventLoop, servers: [String], ownHosts: OwnHosts
        ) throws(DeliveryError) {
            self.loop = loop
            self.ownHosts = ownHosts
            let context = try UnboundContext(servers: servers)
            self.context = context
            watch = loop.watch(readable: context.descriptor) { context.process() }
        }

        func receive(_ message: Message) {
            switch message {
            case .stop: loop.stop()
            case .change(let hosts): ownHosts = hosts
            case .find(let server, let answer):
                var deadline: LoopTimer?
                let lookup = HostLookup(
                    ask: { [context] in context.resolve($0, $1, $2) },
                    isOwn: { [ownHosts] in ownHosts.isOwn($0, port: server.port) },
                    completion: { resolution in
                        deadline?.cancel()
                        answer(resolution)
                    })
                deadline = loop.after(Resolver.limit) { lookup.giveUp() }
                lookup.start(server.host)
            }
        }
    }
}
