import ElemtaReactor
import ElemtaThreads

/// A thread with an event loop of its own that is told what to do by messages.
final class LoopThread<Message: Sendable>: Sendable {
    private let pipe: EventPipe<Message>
    private let thread: NamedThread

    /// What runs on the loop's thread for the messages of one turn.
    typealias Receiver = ([Message]) -> Void

    /// Starts the thread. `setUp` runs on it first and returns the receiver, which lives as long as
    /// the loop. The thread ends when something calls `stop()` of the loop.
    ///
    /// Throws what `setUp` throws, or that the thread or its loop can't be made.
    init(
        _ name: String,
        _ setUp: @escaping @Sendable (EventLoop) throws(DeliveryError) -> Receiver
    ) throws(DeliveryError) {
        let started = Inbox<Result<EventPipe<Message>, DeliveryError>>()
        do throws(ThreadError) {
            thread = try NamedThread(name) { Self.run(setUp, started) }
        } catch {
            throw .thread(error)
        }
        switch started.takeOne() {
        case .success(let pipe):
            self.pipe = pipe
        case .failure(let error):
            thread.join()
            throw error
        case nil:
            // Nobody closes the inbox.
            thread.join()
            throw .reactor(ReactorError("event loop", code: 0))
        }
    }

    private static func run(
        _ setUp: (EventLoop) throws(DeliveryError) -> Receiver,
        _ started: Inbox<Result<EventPipe<Message>, DeliveryError>>
    ) {
        do throws(DeliveryError) {
            let loop: EventLoop
            do throws(ReactorError) { loop = try EventLoop() } catch { throw .reactor(error) }
            let receiver = try setUp(loop)
            do throws(ReactorError) {
                started.post(.success(try EventPipe(loop: loop, deliver: receiver)))
            } catch {
                throw .reactor(error)
            }
            loop.run()
        } catch {
            started.post(.failure(error))
        }
    }

    /// Any thread. Dropped once the loop has ended.
    func post(_ message: Message) { pipe.post(message) }

    /// Waits for the thread's end. Call it once.
    func join() { thread.join() }
}

/// Where the resolver's answers for a thread go; the thread exists only after what runs on it was
/// made.
final class AnswerPath<Message: Sendable>: Sendable {
    private let thread = Locked<LoopThread<Message>?>(nil)

    func lead(to thread: LoopThread<Message>) {
        self.thread.withLock { $0 = thread }
    }

    func post(_ message: Message) {
        thread.withLock { $0 }?.post(message)
    }
}
