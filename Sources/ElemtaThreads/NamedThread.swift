import Glibc

/// Why a thread could not be started: `errno` of `pthread_create(3)`, in practice `EAGAIN`.
public struct ThreadError: Error, Equatable, CustomStringConvertible {
    public let code: Int32

    public var description: String { "cannot start a thread (errno \(code))" }
}

/// A POSIX thread that runs one closure and is joined by whoever started it.
///
/// Elemta's long-lived workers (spool, delivery, files, log) each own one: they block in system
/// calls, which the cooperative pool of Swift concurrency must never do.
@safe public final class NamedThread: @unchecked Sendable {
    // Safe because it is written once in `init` and handed to pthread_join by `join()` alone.
    private let handle: pthread_t

    /// Starts `body` on a new thread. `name` is what `ps -L` shows, at most 15 octets of it.
    /// Signals are blocked on the new thread: the reactor thread alone receives them.
    public init(_ name: String, _ body: @escaping @Sendable () -> Void) throws(ThreadError) {
        let start = Start(name: name, body: body)
        // Safe because the retained object is released by the new thread, or below if none started.
        let context = unsafe Unmanaged.passRetained(start)
        var blocked = sigset_t()
        var previous = sigset_t()
        unsafe sigfillset(&blocked)
        unsafe pthread_sigmask(SIG_SETMASK, &blocked, &previous)
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread, nil,
            { argument in
                // Safe because `argument` is the object that was retained for this call.
                guard let argument = unsafe argument else { return nil }
                let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                nameCallingThread(start.name)
                start.body()
                return nil
            }, context.toOpaque())
        unsafe pthread_sigmask(SIG_SETMASK, &previous, nil)
        guard code == 0 else {
            unsafe context.release()
            throw ThreadError(code: code)
        }
        handle = thread
    }

    /// Waits until the closure has returned. Call it once.
    public func join() {
        pthread_join(handle, nil)
    }

    private final class Start {
        let name: String
        let body: @Sendable () -> Void

        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
}

/// Names the calling thread through /proc: glibc's `pthread_setname_np` is hidden from Swift, and
/// `prctl` is variadic. A missing /proc costs the name, nothing else.
private func nameCallingThread(_ name: String) {
    let descriptor = unsafe open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    let octets = Array(name.utf8.prefix(15))
    unsafe octets.withUnsafeBytes { _ = unsafe write(descriptor, $0.baseAddress, $0.count) }
}
