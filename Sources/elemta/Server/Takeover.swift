import ElemtaQueue
import ElemtaReactor
import ElemtaThreads
import Glibc
import Logging

/// Why the place of a running server can't be taken; it goes on serving.
struct TakeoverError: Error, CustomStringConvertible {
    let reason: String

    var description: String {
        "cannot take the place of the running server, which goes on serving: \(reason)"
    }
}

/// The new server's side of a hand-over: see `HandoverWord`. Blocking, and before the loop runs.
final class Takeover {
    /// What the running server listens on, until somebody accepts from them.
    private var sockets: [ListeningSocket]
    private let queueDirectory: String
    private let descriptor: OwnedDescriptor

    /// How long the running server may take to hand over its sockets.
    private static let answerTime = Duration.seconds(10)
    /// How long a queue may still be locked that its holder has left.
    private static let patience = 250
    private static let pause = Duration.milliseconds(20)

    /// Asks the server that has the queue for its sockets; it goes on serving. Nil when there is none.
    init?(queueDirectory: String) throws(TakeoverError) {
        let number = ControlClient.connect(to: queueDirectory)
        guard number >= 0 else { return nil }
        descriptor = OwnedDescriptor(taking: number)
        self.queueDirectory = queueDirectory
        guard Descriptors.writeAll(ControlFrame.request(HandoverWord.request), to: number) else {
            throw TakeoverError(reason: "it doesn't listen")
        }
        do throws(ReactorError) {
            guard Descriptors.waitForInput(on: number, within: Self.answerTime) else {
                throw ReactorError("answer", code: 0, reason: "it doesn't answer")
            }
            switch try ListeningSocket.receive(over: number) {
            case .sockets(let received): sockets = received
            case .other(HandoverWord.refusal):
                throw ReactorError("refused", code: 0, reason: Self.sentence(from: number))
            case .other:
                throw ReactorError("answer", code: 0, reason: "its version doesn't know how")
            case .ended: throw ReactorError("answer", code: 0, reason: "it has hung up")
            }
        } catch {
            throw TakeoverError(reason: error.reason ?? "\(error)")
        }
    }

    /// The sockets of the running server, which nobody keeps here from now on.
    func takeSockets() -> [ListeningSocket] {
        defer { sockets = [] }
        return sockets
    }

    /// Everything of ours is in order: the running server makes room. Returns once the queue is free,
    /// however long that takes: how long is the other one's `limits.shutdown_timeout`.
    func take(log: Logger) throws(TakeoverError) {
        guard Descriptors.writeAll([HandoverWord.take], to: descriptor.number) else {
            throw TakeoverError(reason: "it has hung up")
        }
        let begin = ContinuousClock.now
        repeat {
            log.write(
                .handoverWaits,
                [
                    .duration: "\(HandoverWord.milliseconds(since: begin))",
                    .note: "for the running server, which makes room",
                ])
        } while !Descriptors.waitForInput(on: descriptor.number, within: HandoverWord.remindAfter)
        var octet: [UInt8] = [0]
        let count = Descriptors.read(descriptor.number, into: &octet)
        // Else it was killed on the way: its queue is free in a moment.
        guard count != 1 || octet[0] != HandoverWord.free else { return }
        Self.waitForQueue(queueDirectory)
    }

    /// We serve: the other one may end.
    func finish() {
        Descriptors.writeAll([HandoverWord.serving], to: descriptor.number)
    }

    /// Waits until nobody has the queue, for a short while: the lock of a process that ends goes after
    /// its connections.
    static func waitForQueue(_ path: String) {
        let nobody = Inbox<Never>()
        for _ in 0..<patience {
            do throws(SpoolError) {
                return try QueueLock.checkIsFree(path)
            } catch {
                guard case .held = error else { return }
                _ = nobody.take(within: pause)
            }
        }
    }

    private static func sentence(from descriptor: Int32) -> String {
        var text = [UInt8](repeating: 0, count: 512)
        let count = max(Descriptors.read(descriptor, into: &text), 0)
        return String(decoding: text.prefix(count).prefix { $0 != 10 }, as: UTF8.self)
    }
}
