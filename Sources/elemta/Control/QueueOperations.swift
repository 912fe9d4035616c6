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
        do throws(SpoolError) {
            switch request.action {
            case .list: return try list(request, to: output)
            case .show: return try show(request, to: output)
            case .why: return try tell(request, to: output)
            case .statistics: return try showStatistics(request, to: output)
            case .change(let operation): return change(operation, request, to: output)
            }
        } catch {
            output.complain("\(error)")
            if case .unknownMessage = error { return .noInput }
            return .failure
        }
    }

    private func list(
        _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        let printer = QueuePrinter(form: request.form, remark: queue.remark)
        guard output.write(printer.heading) else { return .success }
        var position: MessageID?
        repeat {
            let slice = try queue.list(
                request.selection, after: position, limit: Self.sliceLimit)
            for message in slice.messages {
                let line = printer.line(message, subject: queue.subject(of: message.id))
                guard output.write(line) else { return .success }
            }
            position = slice.next
        } while position != nil
        return .success
    }

    private func show(
        _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        guard case .ids(let ids) = request.selection else { return .failure }
        for id in ids {
            switch request.form {
            case .raw:
                guard write(try queue.read(id).content, of: id, to: output) else {
                    return .failure
                }
            case .table, .json:
                let printer = QueuePrinter(form: request.form, remark: queue.remark)
                let message = try queue.read(id)
                let header = HeaderSection(of: start(of: message.content)).octets
                _ = output.write(printer.message(message.envelope, header: header))
            }
        }
        return .success
    }

    /// As much of the content as its header section is looked for in.
    private func start(of content: StoredContent) -> [UInt8] {
        switch content {
        case .memory(let octets):
            return octets
        case .file(let file):
            var start: [UInt8] = []
            let count = min(Int(clamping: file.octetCount), HeaderSection.octetLimit)
            _ = Descriptors.forEachPiece(of: file.path, from: Int(file.offset), count: count) {
                start += $0
                return true
            }
            return start
        }
    }

    private func write(
        _ content: StoredContent, of id: MessageID, to output: any QueueOutput
    ) -> Bool {
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
            let isWhole = Descriptors.forEachPiece(
                of: file.path, from: Int(file.offset), count: Int(file.octetCount)
            ) { piece in output.write(piece) }
            if !isWhole { output.complain("\(id): cannot read \(file.path)") }
            return isWhole
        }
    }

    private func tell(
        _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        guard case .ids(let ids) = request.selection else { return .failure }
        let printer = QueuePrinter(form: request.form, remark: queue.remark)
        for id in ids {
            let story = QueueStory(
                envelope: try queue.show(id), sight: queue.sight, rules: rules)
            guard output.write(printer.story(story)) else { return .success }
        }
        return .success
    }

    private func showStatistics(
        _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        let printer = QueuePrinter(form: request.form, remark: queue.remark)
        _ = output.write(printer.statistics(try queue.statistics()))
        return .success
    }

    private func change(
        _ operation: QueueOperation, _ request: QueueRequest, to output: any QueueOutput
    ) -> ExitStatus {
        if let objection = queue.objection(to: operation) {
            output.complain(objection)
            return .failure
        }
        let missing = missingIDs(in: request.selection)
        for id in missing { output.complain("\(SpoolError.unknownMessage(id))") }
        guard let progress = perform(operation, on: request.selection, telling: output)
        else { return .failure }
        if let failure = progress.failure {
            output.complain("\(failure)")
            return .failure
        }
        let printer = QueuePrinter(form: request.form, remark: queue.remark)
        _ = output.write(printer.change(operation, progress.changed, missing: missing))
        return missing.isEmpty ? .success : .noInput
    }

    /// Says how far it has come when that takes long.
    private func perform(
        _ operation: QueueOperation, on selection: QueueSelection, telling output: any QueueOutput
    ) -> OperationProgress? {
        let reports = Inbox<OperationProgress>()
        // On a stopped server this works on the thread that asks, and the other one tells.
        let worker = try? NamedThread("elemta-queue") { [queue] in
            queue.perform(operation, on: selection) { reports.post($0) }
        }
        guard let worker else { return nil }
        defer { worker.join() }
        var told: ContinuousClock.Instant?
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
        return nil
    }

    private static let progressInterval = Duration.milliseconds(250)

    private func missingIDs(in selection: QueueSelection) -> [MessageID] {
        guard case .ids(let ids) = selection else { return [] }
        return ids.filter { (try? queue.show($0)) == nil }
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
            spool = try Spool.open(options, for: action.purpose)
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
    fileprivate var purpose: SpoolPurpose {
        switch self {
        case .list, .show, .why, .statistics: .looking
        case .change: .changing
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
            default: .unavailable
            }
    }
}
