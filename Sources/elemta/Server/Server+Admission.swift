import ElemtaConfiguration
import ElemtaReactor
import ElemtaSMTP
import Logging

/// How clients come in.
extension Server {
    /// Binds every address of the configuration, or none.
    func bind() throws -> [Listener] {
        var bound: [Listener] = []
        for listener in configuration.listeners {
            do {
                bound += try Listener.listen(
                    loop: loop, on: listener.address.socketAddresses,
                    refusal: Reply.tooManyConnections.octets
                ) { [unowned self] socket in admit(socket) }
            } catch {
                throw BindError(address: "\(listener.address)", cause: error)
            }
        }
        return bound
    }

    private func admit(_ socket: consuming AcceptedSocket) {
        guard let address = socket.remoteAddress.ipAddress else { return }
        guard case .serving = phase else {
            socket.refuse(with: Reply.shuttingDown.octets)
            return
        }
        switch limits.admit(address, isExempt: policy.mayRelay(address)) {
        case .admit: break
        case .tooMany, .tooManyFromAddress:
            log.info("connection_refused", metadata: ["client": "\(address)"])
            socket.refuse(with: Reply.tooManyConnections.octets)
            return
        }
        let isExempt = configuration.limits.bareNewlineExempt.contains { $0.contains(address) }
        let machine = ServerSession(
            parameters: parameters, client: ClientIdentity(address: address),
            bareNewlineExempt: isExempt)
        let session = Session(client: address, machine: machine, server: self)
        let id = sessions.insert(session)
        do {
            let connection = try Connection(loop: loop, accepted: socket, delegate: session)
            session.begin(connection, id: id)
        } catch {
            sessions.remove(id)
            limits.release(address)
            log.error("connection_failed", metadata: ["client": "\(address)", "error": "\(error)"])
        }
    }

    /// A session is over; its connection may still be sending its last reply.
    func ended(_ session: Session) {
        sessions.remove(session.id)
        limits.release(session.client)
        stopIfDrained()
    }
}

/// An address of the configuration can't be listened on.
struct BindError: Error, CustomStringConvertible {
    let address: String
    let cause: ReactorError

    var description: String { "cannot listen on \(address): \(cause)" }
}

extension Configuration.ListenAddress {
    /// One socket, or one per family where no host is given.
    var socketAddresses: [SocketAddress] {
        switch host?.storage {
        case nil: SocketAddress.all(":\(port)")
        case .v4(let address): [SocketAddress(host: .v4(address), port: port)]
        case .v6(let high, let low): [SocketAddress(host: .v6(high: high, low: low), port: port)]
        }
    }
}

extension SocketAddress {
    /// The peer's address as SMTP knows it; nil for a unix-domain socket. v4-mapped addresses are
    /// v4 from here on, so that rules and limits see one client where there is one.
    var ipAddress: IPAddress? {
        switch host {
        case nil: nil
        case .v4(let address): IPAddress(v4: address)
        case .v6(let high, let low): IPAddress(v6High: high, v6Low: low).unmapped
        }
    }
}
