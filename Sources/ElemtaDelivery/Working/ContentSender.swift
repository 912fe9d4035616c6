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

    private enum Source {
        case memory([UInt8])
        case file(ContentFile, position: Int)
        case finished
    }

    /// Beyond this many unsent octets nothing is added.
    static let window = 256 * 1024
    private static let block = 64 * 1024

    private let transfer: ContentTransfer
    private var source: Source
    private var encoder = DataEncoder()

    init(_ content: OutboundMessage.Content, as transfer: ContentTransfer) throws(Failure) {
        self.init(transfer: transfer, source: try Self.source(of: content))
    }

    private init(transfer: ContentTransfer, source: Source) {
        self.transfer = transfer
        self.source = source
    }

    private static func source(of content: OutboundMessage.Content) throws(Failure) -> Source {
        switch content {
        case .memory(let octets): .memory(octets)
        case .file(let file): .file(file, position: 0)
        case .unopened: throw Failure(reason: "its file wasn't opened")
        }
    }

    /// Hands the connection as much as it has room for.
    mutating func send(over connection: Connection) throws(Failure) -> Progress {
        switch transfer {
        case .chunk(let command):
            try sendChunk(command, over: connection)
            return .complete
        case .data:
            return try sendData(over: connection)
        }
    }

    /// RFC 3030 2: counted octets, which go as they are; of a file, without a copy.
    private mutating func sendChunk(
        _ command: [UInt8], over connection: Connection
    ) throws(Failure) {
        switch exchange(&source, with: .finished) {
        case .memory(let octets):
            connection.write(command)
            connection.write(octets)
        case .file(let file, _):
            do throws(ReactorError) {
                let descriptor = try file.duplicate()
                connection.write(command)
                try connection.writeFile(descriptor, offset: file.offset, count: file.count)
            } catch {
                throw Failure(reason: "\(error)")
            }
        case .finished: break
        }
    }

    private mutating func sendData(over connection: Connection) throws(Failure) -> Progress {
        switch exchange(&source, with: .finished) {
        case .memory(let octets):
            var chain = ByteChain()
            encode(octets, into: &chain)
            chain.append(encoder.terminator)
            connection.write(chain)
            return .complete
        case .file(let file, var position):
            while position < file.count {
                if connection.unsentCount >= Self.window {
                    source = .file(file, position: position)
                    return .more
                }
                let octets = try Self.read(file, at: position)
                var chain = ByteChain()
                encode(octets, into: &chain)
                connection.write(chain)
                position += octets.count
            }
            connection.write(encoder.terminator)
            return .complete
        case .finished:
            return .complete
        }
    }

    private mutating func encode(_ octets: [UInt8], into chain: inout ByteChain) {
        let span = octets.span
        let dot = [UInt8(ascii: ".")]
        encoder.encode(span) { range, dotFollows in
            chain.append(span.extracting(range))
            if dotFollows { chain.append(dot) }
        }
    }

    /// A file that is shorter than it was can't be sent as what it was: the caller breaks off, and
    /// the end of data never leaves.
    private static func read(_ file: ContentFile, at position: Int) throws(Failure) -> [UInt8] {
        do throws(ReactorError) {
            return try file.read(block, at: position)
        } catch {
            throw Failure(reason: "content file: \(error)")
        }
    }
}
