import ElemtaQueue
import ElemtaSMTP
import ElemtaThreads

/// Answers a `QueueRequest`. Blocks on the disk: not for the reactor thread.
struct QueueOperations: Sendable {
    let queue: any QueueView
    /// Nil where nothing is delivered.
    let rules: DeliveryRules?

    /// Messages looked at in one slice of a list.
    private static let sliceLimit = 500

    func perform(_ request: QueueRequest, to output: any QueueOutput) -> ExitStatus {
        let status: ExitStatus
        do throws(SpoolError) {
            status = try answer(request, to: output)
        } catch {
            output.complain("\(error)")
            status = ExitStatus(asking: error)
        }
        guard let failure = output.failure else { return status }
        output.complain(failure)
        return .ioError
    }

    private func answer(
        _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        switch request.action {
        case .list: return try list(request, to: output)
        case .show: return try show(request, to: output)
        case .why: return try tell(request, to: output)
        case .statistics: return try showStatistics(request, to: output)
        case .change(let operation): return try change(operation, request, to: output)
        }
    }

    // MARK: - Looking

    private func list(
        _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        let printer = QueuePrinter(form: request.form, remark: queue.remark)
        guard output.write(printer.heading) else { return .success }
        return try forEach(request.selection, to: output) { message throws(SpoolError) in
            output.write(printer.line(message, subject: queue.subject(of: message.id)))
        }
    }

    private func show(
        _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        let printer = QueuePrinter(form: request.form, remark: queue.remark)
        var separator = printer.separator
        return try forEach(request.selection, to: output) { message throws(SpoolError) in
            let message = try queue.read(message.id)
            if case .raw = request.form {
                return try write(message.content, of: message.envelope.id, to: output)
            }
            let header = HeaderSection(of: try start(of: message)).octets
            return output.write(
                separator.next() + printer.message(message.envelope, header: header))
        }
    }

    private func tell(
        _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        let printer = QueuePrinter(form: request.form, remark: queue.remark)
        var separator = printer.separator
        return try forEach(request.selection, to: output) { message throws(SpoolError) in
            let story = QueueStory(
                envelope: try queue.show(message.id), sight: queue.sight, rules: rules)
            return output.write(separator.next() + printer.story(story))
        }
    }

    private func showStatistics(
        _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        let printer = QueuePrinter(form: request.form, remark: queue.remark)
        if request.selection == .all {
            _ = output.write(printer.statistics(try queue.statistics()))
            return .success
        }
        var counts = SelectionCounts()
        let status = try forEach(request.selection, to: output) { message throws(SpoolError) in
            counts.add(message)
            return true
        }
        _ = output.write(printer.statistics(counts))
        return status
    }

    /// Hands every message of a selection to `body`, until that returns false or nobody waits any
    /// more. A named one that isn't there is told, as is one that is damaged, and the others follow.
    private func forEach(
        _ selection: QueueSelection, to output: any QueueOutput,
        _ body: (MessageSummary) throws(SpoolError) -> Bool
    ) throws(SpoolError) -> ExitStatus {
        var status = ExitStatus.success
        if case .ids(let ids) = selection {
            let sight = queue.sight
            for id in ids {
                do throws(SpoolError) {
                    guard output.wanted() else { break }
                    guard try body(MessageSummary(try queue.show(id), sight)) else { break }
                } catch {
                    guard error.isOfOneMessage else { throw error }
                    output.complain("\(error)")
                    status = ExitStatus(asking: error)
                }
            }
            return status
        }
        var position: MessageID?
        repeat {
            let slice = try queue.list(selection, after: position, limit: Self.sliceLimit)
            for message in slice.messages {
                do throws(SpoolError) {
                    guard output.wanted(), try body(message) else { return status }
                } catch {
                    // It has gone since the slice was read.
                    if case .unknownMessage = error { continue }
                    guard error.isOfOneMessage else { throw error }
                    output.complain("\(error)")
                    status = ExitStatus(asking: error)
                }
            }
            position = slice.next
        } while position != nil && output.wanted()
        return status
    }

    /// As much of the content as its header section is looked for in.
    private func start(of message: StoredMessage) throws(SpoolError) -> [UInt8] {
        switch message.content {
        case .memory(let octets):
            return octets
        case .file(let file):
            var start: [UInt8] = []
            let count = min(Int(clamping: file.octetCount), HeaderSection.octetLimit)
            let isWhole = Descriptors.forEachPiece(
                of: file.path, from: Int(file.offset), count: count
            ) {
                start += $0
                return true
            }
            guard isWhole else { throw unreadable(file, message.envelope.id) }
            return start
        }
    }

    /// The file of a message that is still there, or else the message has gone meanwhile.
    private func unreadable(_ file: StoredContentFile, _ id: MessageID) -> SpoolError {
        do throws(SpoolError) {
            _ = try queue.show(id)
        } catch {
            return error
        }
        return .damaged(id, "cannot read \(file.path)")
    }

    /// False once nothing more gets through.
    private func write(
        _ content: StoredContent, of id: MessageID, to output: any QueueOutput
    ) throws(SpoolError) -> Bool {
        switch content {
        case .memory(let octets):
            var rest = octets[...]
            while !rest.isEmpty {
                let piece = rest.prefix(ControlFrame.longestPayload)
                guard output.write(Array(piece)) else { return false }
                rest = rest.dropFirst(piece.count)
            }
            return true
        case .file(let file):
            var getsThrough = true
            let isWhole = Descriptors.forEachPiece(
                of: file.path, from: Int(file.offset), count: Int(file.octetCount)
            ) { piece in
                getsThrough = output.write(piece)
                return getsThrough
            }
            guard isWhole else { throw unreadable(file, id) }
            return getsThrough
        }
    }

    // MARK: - Changing

    private func change(
        _ operation: QueueOperation, _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        if let objection = queue.objection(to: operation) {
            output.complain(objection)
            return .failure
        }
        let (missing, status) = try lookForNamed(request.selection, to: output)
        let progress = try perform(operation, on: request.selection, telling: output)
        if let failure = progress.failure { throw failure }
        let printer = QueuePrinter(form: request.form, remark: queue.remark)
        _ = output.write(printer.change(operation, progress.changed, missing: missing))
        return status
    }

    /// Says how far it has come when that takes long.
    private func perform(
        _ operation: QueueOperation, on selection: QueueSelection, telling output: any QueueOutput
    ) throws(SpoolError) -> OperationProgress {
        let reports = Inbox<OperationProgress>()
        // On a stopped server this works on the thread that asks, and the other one tells.
        let worker: NamedThread
        do throws(ThreadError) {
            worker = try NamedThread("elemta-queue") { [queue, wanted = output.wanted] in
                queue.perform(operation, on: selection, while: wanted) { reports.post($0) }
            }
        } catch {
            throw .storage(error.description)
        }
        defer { worker.join() }
        var told: ContinuousClock.Instant?
        // There is always a last one: operations end when the disk fails or nobody waits.
        while case .elements(let list) = reports.take() {
            for progress in list {
                if progress.isFinished { return progress }
                if let told, ContinuousClock.now - told < Self.progressInterval { continue }
                told = .now
                output.tell(
                    "\(progress.examined) messages looked at, "
                        + "\(operation.pastTense) \(progress.changed)")
            }
        }
        throw .stopped
    }

    private static let progressInterval = Duration.milliseconds(250)

    /// Tells of the named messages that aren't there, and of those that can't be read.
    private func lookForNamed(
        _ selection: QueueSelection, to output: any QueueOutput
    ) throws(SpoolError) -> (missing: [MessageID], ExitStatus) {
        guard case .ids(let ids) = selection else { return ([], .success) }
        var missing: [MessageID] = []
        var status = ExitStatus.success
        for id in ids {
            do throws(SpoolError) {
                _ = try queue.show(id)
            } catch {
                guard error.isOfOneMessage else { throw error }
                if case .unknownMessage = error { missing.append(id) }
                output.complain("\(error)")
                status = ExitStatus(asking: error)
            }
        }
        return (missing, status)
    }
}

extension SpoolError {
    /// Others can still be looked at.
    fileprivate var isOfOneMessage: Bool {
        switch self {
        case .unknownMessage, .damaged: true
        default: false
        }
    }
}

/// How many messages of a selection there are, and where they stand.
struct SelectionCounts {
    private(set) var messages = 0
    /// Of content.
    private(set) var octets: UInt64 = 0
    private(set) var states: [QueueState: Int] = [:]

    mutating func add(_ message: MessageSummary) {
        messages += 1
        octets += message.octets
        states[message.state, default: 0] += 1
    }
}

extension QueueOperation {
    var word: String {
        switch self {
        case .retry: "retry"
        case .hold: "hold"
        case .release: "release"
        case .delete: "delete"
        }
    }

    var pastTense: String {
        switch self {
        case .retry: "to be tried now:"
        case .hold: "held:"
        case .release: "released:"
        case .delete: "deleted:"
        }
    }
}

extension QueueRequest {
    /// Opens the queue of a server that isn't running, answers, and closes it.
    ///
    /// - Parameter rules: for `why`.
    func performOnStoppedServer(_ options: SpoolOptions, rules: DeliveryRules?) throws {
        let output = TerminalOutput()
        let spool: Spool
        do throws(SpoolError) {
            spool = try Spool.open(options, for: action.isChange ? .changing : .looking)
        } catch {
            output.complain("\(error)")
            throw ExitStatus(opening: error).code
        }
        let status = QueueOperations(queue: spool, rules: rules).perform(self, to: output)
        spool.stop()
        guard status == .success else { throw status.code }
    }
}

extension QueueRequest.Action {
    var isChange: Bool {
        switch self {
        case .list, .show, .why, .statistics: false
        case .change: true
        }
    }
}

extension ExitStatus {
    /// When a queue can't be opened, or not for what it was to be opened for.
    init(opening error: SpoolError) {
        self =
            switch error {
            case .held: .temporaryFailure
            case .noQueue: .noInput
            case .notPermitted: .noPermission
            default: .unavailable
            }
    }

    /// When an open queue can't answer.
    init(asking error: SpoolError) {
        if case .unknownMessage = error { self = .noInput } else { self = .failure }
    }
}
