import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import Glibc

/// Puts messages into maildirs: through `tmp` into `new`, and on disk before it says so. Any thread;
/// blocks.
final class MaildirWriter: Sendable {
    private let names: MaildirNames
    private let folders = MaildirFolders()

    init(hostname: String) {
        names = MaildirNames(hostname: hostname)
    }

    /// Returns once the message is in `new` for good.
    ///
    /// A crash before that leaves a file in `tmp`, or one in `new` that will have a twin.
    func deliver(
        _ message: OutboundMessage, to recipient: Mailbox, components: [String], below root: String
    ) throws(FileError) {
        let folder = try folders.prepare(components, below: root)
        do throws(FileError) {
            try deliver(message, to: recipient, into: folder)
        } catch {
            // Somebody has removed the maildir meanwhile.
            guard error.code == ENOENT else { throw error }
            folders.forget(folder)
            _ = try folders.prepare(components, below: root)
            try deliver(message, to: recipient, into: folder)
        }
    }

    private func deliver(
        _ message: OutboundMessage, to recipient: Mailbox, into folder: String
    ) throws(FileError) {
        let name = names.next()
        let temporary = "\(folder)/tmp/\(name)"
        let file = try OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL)
        do throws(FileError) {
            try Self.write(message, to: recipient, into: file)
            try file.sync()
            try publish(temporary, as: "\(folder)/new/\(name)", in: "\(folder)/new")
        } catch {
            // What failed to be synced is never taken for written: the next attempt begins anew.
            try? FileSystem.remove(temporary)
            throw error
        }
    }

    /// By link(2), which never replaces a file; by rename(2) where the file system has no links.
    private func publish(
        _ temporary: String, as target: String, in folder: String
    ) throws(FileError) {
        if unsafe link(temporary, target) == 0 {
            try? FileSystem.remove(temporary)
        } else {
            let code = errno
            guard code == EPERM || code == EOPNOTSUPP || code == ENOSYS else {
                throw FileError(operation: "link \(target)", code: code)
            }
            try FileSystem.move(temporary, to: target)
        }
        do throws(FileError) {
            try FileSystem.syncDirectory(folder)
        } catch {
            // It's tried again, and would be there twice.
            try? FileSystem.remove(target)
            throw error
        }
    }

    private static func write(
        _ message: OutboundMessage, to recipient: Mailbox, into file: borrowing OpenFile
    ) throws(FileError) {
        var text = MaildirText()
        try file.write(MaildirText.head(from: message.envelope.reversePath, to: recipient).span)
        var position = 0
        while position < message.content.count {
            let octets = try Self.block(of: message.content, at: position)
            try file.write(text.convert(octets).span)
            position += octets.count
        }
        try file.write(text.end().span)
    }

    /// Content that can't be read, or isn't what it was, isn't the message that was accepted.
    private static func block(
        of content: OutboundMessage.Content, at position: Int
    ) throws(FileError) -> [UInt8] {
        do throws(SpoolError) {
            return try content.block(at: position)
        } catch {
            throw FileError(operation: "read the content (\(error))", code: EIO)
        }
    }
}
