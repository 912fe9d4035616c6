import ElemtaQueue
import ElemtaSMTP
import ElemtaThreads

/// Answers a `QueueRequest`. Blocks on the disk: not for the reactor thread.
struct QueueOperations: Sendable {
    let queue: any QueueView

    /// Messages looked at in one slice of a list.
    private static let sliceLimit = 500

    func perform(_ request: QueueRequest, to output: any QueueOutput) -> ExitStatus {
        do throws(SpoolError) {
            switch request.action {
            case .list: return try list(request, to: output)
            case .show: return try show(request, to: output)
            case .statistics: return try showStatistics(request, to: output)
            case .change(let operation): return change(operation, request.selection, to: output)
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

    private func showStatistics(
        _ request: QueueRequest, to output: any QueueOutput
    ) throws(SpoolError) -> ExitStatus {
        let printer = QueuePrinter(form: request.form, remark: queue.remark)
        _ = output.write(printer.statistics(try queue.statistics()))
        return .success
    }

    private func change(
        _ operation: QueueOperation, _ selection: QueueSelection, to output: any QueueOutput
    ) -> ExitStatus {
        if let objection = queue.objection(to: operation) {
            output.complain(objection)
            return .failure
        }
        let missing = missingIDs(in: selection)
        for id in missing { output.complain("\(SpoolError.unknownMessage(id))") }
        let ended = Inbox<OperationProgress>()
        queue.perform(operation, on: selection) { progress in
            if progress.isFinished { ended.post(progress) }
        }
        guard let progress = ended.takeOne() else { return .failure }
        if let failure = progress.failure {
            output.complain("\(failure)")
            return .failure
        }
        _ = output.write(Array("\(operation.pastTense) \(progress.changed)\n".utf8))
        return missing.isEmpty ? .success : .noInput
    }

    private func missingIDs(in selection: QueueSelection) -> [MessageID] {
        guard case .ids(let ids) = selection else { return [] }
        return ids.filter { (try? queue.show($0)) == nil }
    }
}

extension QueueOperation {
    fileprivate var pastTense: String {
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
    func performOnStoppedServer(_ options: SpoolOptions) throws {
        let output = TerminalOutput()
        let spool: Spool
        do throws(SpoolError) {
            spool = try Spool.open(options, for: action.purpose)
        } catch {
            output.complain("\(error)")
            switch error {
            case .held: throw ExitStatus.temporaryFailure.code
            case .noQueue: throw ExitStatus.noInput.code
            default: throw ExitStatus.unavailable.code
            }
        }
        let status = QueueOperations(queue: spool).perform(self, to: output)
        spool.stop()
        guard status == .success else { throw status.code }
    }
}

extension QueueRequest.Action {
    fileprivate var purpose: SpoolPurpose {
        switch self {
        case .list, .show, .statistics: .looking
        case .change: .changing
        }
    }
}
