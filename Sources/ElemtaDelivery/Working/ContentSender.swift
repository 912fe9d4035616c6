import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// Puts one message's content on a connection, as much at a time as the connection takes.
struct ContentSender: ~Copyable {
    enum Progress {
        /// More is to be sent when what is unsent has shrunk.
        case more
        /// All of it, end of data included, has been handed to the connection.
        case complete
    }

    /// What keeps the content from being sent whole.
    struct Failure: Error {
        let reason: String
    }

    private enum Progression {
        case waiting
        /// So many octets of the content have been handed over.
        case sending(position: Int)
        case finished
    }

    /// With this many unsent octets nothing is added, otherwise a block is: what one connection holds
    /// of a message that it sends is at most this and a block, and the dots of that. The kernel holds
    /// more, so that a fast next hop never waits for us.
    static let window = 64 * 1024

    private let content: OutboundMessage.Content
    private let transfer: ContentTransfer
    private var progression = Progression.waiting
    private var encoder = DataEncoder()

    init(_ content: OutboundMessage.Content, as transfer: ContentTransfer) {
        self.content = content
        self.transfer = transfer
    }

    /// Hands the connection as much as it has room for.
    ///
    /// - Throws: when content can't be read that was accepted. The caller breaks off: the end of data,
    ///   or the last octet of the chunk, never leaves.
    mutating func send(over connection: Connection) throws(Failure) -> Progress {
        switch progression {
        case .finished: return .complete
        case .sending(let position): return try send(from: position, over: connection)
        case .waiting:
            guard case .chunk(let command) = transfer else {
                return try send(from: 0, over: connection)
            }
            if case .file(let file) = content {
                return try sendChunk(command, of: file, over: connection)
            }
            connection.write(command)
            return try send(from: 0, over: connection)
        }
    }

    /// RFC 3030 2: counted octets, which go as they are; of a file, without a copy.
    private mutating func sendChunk(
        _ command: [UInt8], of file: ContentFile, over connection: Connection
    ) throws(Failure) -> Progress {
        do throws(ReactorError) {
            let descriptor = try file.duplicate()
            connection.write(command)
            try connection.writeFile(descriptor, offset: file.offset, count: file.count)
        } catch {
            throw Failure(reason: "\(error)")
        }
        progression = .finished
        return .complete
    }

    private mutating func send(
        from start: Int, over connection: Connection
    ) throws(Failure) -> Progress {
        var position = start
        while position < content.count {
            if connection.unsentCount >= Self.window {
                progression = .sending(position: position)
                return .more
            }
            let octets: [UInt8]
            do throws(SpoolError) {
                octets = try content.block(at: position)
            } catch {
                throw Failure(reason: "\(error)")
            }
            position += octets.count
            write(octets, over: connection)
        }
        if case .data = transfer { connection.write(encoder.terminator) }
        progression = .finished
        return .complete
    }

    private mutating func write(_ octets: [UInt8], over connection: Connection) {
        guard case .data = transfer else { return connection.write(octets) }
        var chain = ByteChain()
        let span = octets.span
        let dot = [UInt8(ascii: ".")]
        encoder.encode(span) { range, dotFollows in
            chain.append(span.extracting(range))
            if dotFollows { chain.append(dot) }
        }
        connection.write(chain)
    }
}
