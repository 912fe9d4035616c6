import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Glibc

/// A copy of content that was encoded for what a server takes.
struct ConvertedContent {
    let content: OutboundMessage.Content
    let summary: ContentSummary

    /// A copy of up to so many octets stays in memory; a larger one goes to a file without a name.
    static let memoryLimit = 1 << 17

    /// Nil: it can't be encoded. Reads the content twice.
    ///
    /// - Throws: `.storage`, `.full` when the copy can't be written, `.noDescriptors`.
    init?(
        _ content: OutboundMessage.Content, folder: String
    ) throws(SpoolError) {
        var survey = ConversionSurvey()
        try Self.forEachBlock(of: content) { block throws(SpoolError) in survey.take(block.span) }
        guard var converter = survey.finish() else { return nil }
        var copy = Copy(folder: folder)
        try Self.forEachBlock(of: content) { block throws(SpoolError) in
            converter.take(block.span, into: &copy.octets)
            try copy.spill()
        }
        summary = converter.finish(into: &copy.octets)
        self.content = try copy.finish()
    }

    private static func forEachBlock(
        of content: OutboundMessage.Content, _ body: ([UInt8]) throws(SpoolError) -> Void
    ) throws(SpoolError) {
        var position = 0
        while position < content.count {
            let octets = try content.block(at: position)
            try body(octets)
            position += octets.count
        }
    }

    /// What has been converted so far.
    private struct Copy: ~Copyable {
        private enum Place: ~Copyable {
            case memory
            case file(OwnedDescriptor)
        }

        let folder: String
        /// What isn't in the file, if there is one.
        var octets: [UInt8] = []
        private var place = Place.memory
        private var written = 0

        init(folder: String) { self.folder = folder }

        mutating func spill() throws(SpoolError) {
            guard octets.count >= ConvertedContent.memoryLimit else { return }
            switch exchange(&place, with: .memory) {
            case .memory: try write(into: try Self.unnamedFile(in: folder))
            case .file(let file): try write(into: file)
            }
        }

        mutating func finish() throws(SpoolError) -> OutboundMessage.Content {
            switch exchange(&place, with: .memory) {
            case .memory: return .memory(octets)
            case .file(let file):
                try write(into: file)
                guard case .file(let whole) = exchange(&place, with: .memory) else {
                    return .memory(octets)
                }
                return .file(ContentFile(whole, offset: 0, count: written))
            }
        }

        private mutating func write(into file: consuming OwnedDescriptor) throws(SpoolError) {
            var done = 0
            while done < octets.count {
                // Safe because write only reads what is left of the array, during the call.
                let count = unsafe octets.withUnsafeBytes { buffer in
                    unsafe Glibc.write(
                        file.number, buffer.baseAddress.map { unsafe $0 + done },
                        buffer.count - done)
                }
                if count < 0 {
                    if errno == EINTR { continue }
                    throw Self.failure("write")
                }
                done += count
            }
            written += done
            octets.removeAll(keepingCapacity: true)
            place = .file(file)
        }

        private static func failure(_ operation: String) -> SpoolError {
            if errno == ENOSPC || errno == EDQUOT { return .full }
            return SpoolError(ReactorError(operation, code: errno))
        }

        /// A file that is gone when it is closed, whatever ends the process.
        private static func unnamedFile(in folder: String) throws(SpoolError) -> OwnedDescriptor {
            // O_TMPFILE of <fcntl.h>, a macro that Swift doesn't see.
            let unnamed = 0o20000000 | O_DIRECTORY
            let number = unsafe open(folder, unnamed | O_RDWR | O_CLOEXEC, 0o600)
            if number >= 0 { return OwnedDescriptor(taking: number) }
            guard errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL else {
                throw failure("open \(folder)")
            }
            // The file system doesn't know such files.
            var name = Array("\(folder)/converting-XXXXXX".utf8CString)
            // Safe because mkstemp writes the six letters in place and nothing beyond.
            let made = unsafe name.withUnsafeMutableBufferPointer { buffer -> Int32 in
                guard let start = buffer.baseAddress else { return -1 }
                let made = unsafe mkstemp(start)
                if made >= 0 {
                    unsafe unlink(start)
                    _ = fcntl(made, F_SETFD, FD_CLOEXEC)
                }
                return made
            }
            guard made >= 0 else { throw failure("mkstemp in \(folder)") }
            return OwnedDescriptor(taking: made)
        }
    }
}
