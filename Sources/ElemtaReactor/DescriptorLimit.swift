import Glibc

/// How many descriptors this process may have open: `RLIMIT_NOFILE`.
public enum DescriptorLimit {
    /// Whether no further descriptor is to be had now, by this process or by any.
    public static var isReached: Bool {
        let type = Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue)
        let number = socket(AF_UNIX, type, 0)
        guard number < 0 else {
            close(number)
            return false
        }
        return errno == EMFILE || errno == ENFILE
    }

    /// Raises the soft limit to the hard one and says what now holds. Where the kernel refuses, the
    /// limits stay as they were.
    @discardableResult
    public static func raise() -> (soft: Int, hard: Int) {
        var limit = rlimit()
        // Safe because `limit` is a local of the right type, here and below.
        unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        if limit.rlim_cur < limit.rlim_max {
            var raised = limit
            raised.rlim_cur = limit.rlim_max
            if unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &raised) == 0 {
                limit = raised
            }
        }
        return (Int(clamping: limit.rlim_cur), Int(clamping: limit.rlim_max))
    }
}
