import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads

/// What is done with content before a server gets it and takes too long for a loop with hundreds of
/// connections: opening and verifying a file, encoding for what the server offers. A small pool of
/// threads for all workers.
final class ContentPreparation: Sendable {
    struct Request: Sendable {
        let message: OutboundMessage
        let content: OutboundMessage.Content
        /// It has to be encoded.
        let inSevenBits: Bool
        /// Called once, on a thread of the pool.
        let answer: @Sendable (Outcome) -> Void
    }

    enum Outcome: Sendable {
        /// `summary` nil: as it was, because nothing had to be encoded, or nothing helps.
        case ready(OutboundMessage.Content, summary: ContentSummary?)
        case failed(SpoolError)
    }

    /// Content in memory of up to so many octets is encoded where it is wanted: that takes less than
    /// a millisecond.
    static let smallCount = 65_536
    private static let threadCount = 2

    private let inbox = Inbox<Request>()
    private let threads: [NamedThread]

    init(_ store: any MessageStore) throws(DeliveryError) {
        let inbox = inbox
        var threads: [NamedThread] = []
        for number in 0..<Self.threadCount {
            do throws(ThreadError) {
                threads.append(
                    try NamedThread("elemta-prep-\(number)") {
                        while let request = inbox.takeOne() {
                            request.answer(Self.outcome(of: request, store))
                        }
                    })
            } catch {
                inbox.close()
                for thread in threads { thread.join() }
                throw .thread(error)
            }
        }
        self.threads = threads
    }

    /// Any thread. What comes after `stop` isn't answered.
    func post(_ request: Request) { inbox.post(request) }

    /// Requests that wait for a thread.
    var backlog: Int { inbox.count }

    /// Ends when what has been posted is answered.
    func stop() {
        inbox.close()
        for thread in threads { thread.join() }
    }

    private static func outcome(of request: Request, _ store: any MessageStore) -> Outcome {
        do throws(SpoolError) {
            var content = request.content
            if case .unopened = content {
                content = .file(try store.openContent(of: request.message))
            }
            guard request.inSevenBits else { return .ready(content, summary: nil) }
            let converted = try ConvertedContent(content, folder: store.folder)
            return converted.map { .ready($0.content, summary: $0.summary) }
                ?? .ready(content, summary: nil)
        } catch {
            return .failed(error)
        }
    }
}

extension SpoolError {
    init(_ error: ReactorError) {
        self = error.isLackOfDescriptors ? .noDescriptors : .storage(error.description)
    }
}
