import ElemtaQueue
import ElemtaSMTP
import ElemtaThreads

/// Answers a `QueueRequest` from a spool, running or not. Blocks on the disk: not for the reactor
/// thread.
struct QueueOperations: Sendable {
    let spool: Spool

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
        let printer = QueuePrinter(form: request.form)
        guard output.write(printer.heading) else { return .success }
        var position: MessageID?
        repeat {
            let slice = try spool.list(request.selection, after: position)
            for message in slice.messages where !output.write(printer.line(message)) {
                return .success
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
                guard write(try spool.read(id).content, of: id, to: output) else {
                    return .failure
                }
            case .table, .json:
                let printer = QueuePrinter(form: request.form)
                let envelope = try spool.show(id)
                _ = output.write(printer.message(envelope, header: try header(of: id)))
            }
        }
        return .success
    }

    /// The header section of a message's content, as far as 64 KiB go.
    private func header(of id: MessageID) throws(SpoolError) -> [UInt8] {
        var start: [UInt8] = []
        switch try spool.read(id).content {
        case .memory(let octets): start = octets
        case .file(let file):
            let count = min(Int(clamping: file.octetCount), 64 * 1024)
            _ = Descriptors.forEachPiece(of: file.path, from: Int(file.offset), count: count) {
                start += $0
                return true
            }
        }
        return Array(start.prefix(headerCount(in: start)))
    }

    /// Octets up to the empty line that ends the header (RFC 5322 2.1), or all there are.
    private func headerCount(in content: [UInt8]) -> Int {
        var lineStart = 0
        for (index, octet) in content.enumerated() where octet == UInt8(ascii: "\n") {
            let line = content[lineStart..<index]
            if line.isEmpty || line.elementsEqual([UInt8(ascii: "\r")]) { return lineStart }
            lineStart = index + 1
        }
        return content.count
    }

    private func write(
        _ content: StoredContent, of id: MessageID, to output: any QueueOutput
    ) -> Bool {
        switch content {
        case .memory(let octets):
            return output.write(octets)
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
        let printer = QueuePrinter(form: request.form)
        _ = output.write(printer.statistics(try spool.statistics()))
        return .success
    }

    private func change(
        _ operation: QueueOperation, _ selection: QueueSelection, to output: any QueueOutput
    ) -> ExitStatus {
        let missing = missingIDs(in: selection)
        for id in missing { output.complain("\(SpoolError.unknownMessage(id))") }
        let ended = Inbox<OperationProgress>()
        spool.perform(operation, on: selection) { progress in
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
        return ids.filter { (try? spool.show($0)) == nil }
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
            spool = try Spool.open(options)
        } catch {
            output.complain("\(error)")
            if case .held = error { throw ExitStatus.temporaryFailure.code }
            throw ExitStatus.unavailable.code
        }
        let status = QueueOperations(spool: spool).perform(self, to: output)
        spool.stop()
        guard status == .success else { throw status.code }
    }
}
