import Glibc

/// A unix-domain path that the kernel takes although it is longer than `sun_path`: it goes through
/// a descriptor of its directory, `/proc/self/fd/<n>/<name>`.
struct UnixSocketPath: ~Copyable {
    let path: String
    private let directory: OwnedDescriptor?

    /// What `bind` and `connect` take while this value lives.
    private let address: SocketAddress

    /// Throws when the directory can't be opened, and `ENAMETOOLONG` when the last component alone
    /// is too long.
    init(_ path: String, for operation: String) throws(ReactorError) {
        guard path.utf8.count > SocketAddress.unixPathLimit else {
            self.init(path: path, directory: nil, address: SocketAddress(unixPath: path))
            return
        }
        guard let slash = path.lastIndex(of: "/") else {
            throw ReactorError(operation, code: ENAMETOOLONG)
        }
        let parent = slash == path.startIndex ? "/" : String(path[..<slash])
        let number = unsafe open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { throw .current("open") }
        self.init(
            path: path, directory: OwnedDescriptor(taking: number),
            address: SocketAddress(unixPath: "/proc/self/fd/\(number)\(path[slash...])"))
    }

    private init(path: String, directory: consuming OwnedDescriptor?, address: SocketAddress) {
        self.path = path
        self.directory = directory
        self.address = address
    }

    // The socket calls are methods, so that the directory stays open while they run.

    func bind(_ descriptor: Int32) throws(ReactorError) {
        try Socket.bind(descriptor, to: address)
    }

    func connect(_ descriptor: Int32) throws(ReactorError) {
        try Socket.connect(descriptor, to: address)
    }

    /// Removes what a server that died left at the path. Throws `EADDRINUSE` when a server answers
    /// there, or when what is there isn't a socket: that isn't ours to remove.
    func removeStale() throws(ReactorError) {
        var status = stat()
        // Safe because `status` is a local of the right type.
        guard unsafe lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw ReactorError("bind", code: EADDRINUSE)
        }
        let probe = try Socket.make(AF_UNIX)
        do {
            try connect(probe.number)
        } catch  where error.code == ECONNREFUSED {
            unsafe unlink(path)
            return
        } catch  where error.code == ENOENT {
            return
        } catch {
            throw ReactorError("bind", code: EADDRINUSE)
        }
        throw ReactorError("bind", code: EADDRINUSE)
    }
}

/// Which file a path named when the listener bound it, so that only that file is removed later.
struct FileIdentity: Equatable {
    let device: UInt
    let inode: UInt

    init?(at path: String) {
        var status = stat()
        // Safe because `status` is a local of the right type.
        guard unsafe lstat(path, &status) == 0 else { return nil }
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
    }
}
