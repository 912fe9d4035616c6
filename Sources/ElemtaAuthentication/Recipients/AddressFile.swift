/// The recipients of a domain in one file, read again when it changes.
public final class AddressFile: Sendable {
    private let file: WatchedFile<AddressTable>

    /// Reads the file; throws everything that is wrong with it. `report` is called on the thread
    /// that noticed a change; it must not call back.
    public init(
        _ path: String, report: @escaping @Sendable (WatchedFileEvent) -> Void
    ) throws(FileErrors) {
        file = try WatchedFile(path, report: report)
    }

    public var path: String { file.path }

    /// The addresses as they are known now.
    public var table: AddressTable { file.content }

    /// Reads the file again when it isn't what it was at the last look. Any thread; blocks while it
    /// reads. Says whether it has read it.
    @discardableResult
    public func reloadIfChanged() -> Bool { file.reloadIfChanged() }

    /// Reads the file again, changed or not. Any thread; blocks while it reads.
    public func reload() { file.reload() }
}
