import CUnbound

/// libunbound's context (`ub_ctx_create`, freed by `ub_ctx_delete`): a caching resolver with a
/// thread of its own, whose answers `process()` hands out on the thread that calls it.
///
/// It asks `servers` or those of /etc/resolv.conf, knows /etc/hosts, and doesn't validate DNSSEC:
/// behind forwarders that don't speak it every signed domain would fail.
@safe final class UnboundContext {
    // Safe because it is set once, used until `deinit`, and libunbound locks what it shares.
    private let context: OpaquePointer

    /// `servers` as libunbound writes them: `192.0.2.1@53`.
    init(servers: [String]) throws(DeliveryError) {
        guard let made = unsafe ub_ctx_create() else {
            throw .resolver("ub_ctx_create: out of memory")
        }
        unsafe context = unsafe made
        try configure(servers: servers)
    }

    deinit {
        unsafe ub_ctx_delete(context)
    }

    private func configure(servers: [String]) throws(DeliveryError) {
        try check("iterator") { unsafe ub_ctx_set_option(context, "module-config:", "iterator") }
        // A resolver on this machine is as good as any.
        try check("localhost") {
            unsafe ub_ctx_set_option(context, "do-not-query-localhost:", "no")
        }
        // Neither file has to be there; without resolv.conf the root servers are asked.
        if servers.isEmpty { unsafe ub_ctx_resolvconf(context, nil) }
        unsafe ub_ctx_hosts(context, nil)
        for server in servers {
            try check(server) { unsafe ub_ctx_set_fwd(context, server) }
        }
        try check("thread") { unsafe ub_ctx_async(context, 1) }
        // libunbound answers .test itself (RFC 6761 6.2). Whoever runs a server for it means it.
        // Last, because it seals the settings.
        try check("test.") { unsafe ub_ctx_zone_remove(context, "test.") }
    }

    private func check(_ what: String, _ call: () -> Int32) throws(DeliveryError) {
        let code = call()
        if code != 0 { throw .resolver("\(what): \(Self.text(of: code))") }
    }

    private static func text(of code: Int32) -> String {
        // Safe because ub_strerror returns constants.
        guard let text = unsafe ub_strerror(code) else { return "error \(code)" }
        return unsafe String(cString: text)
    }

    /// Readable when `process()` has something to do.
    var descriptor: Int32 { unsafe ub_fd(context) }

    /// Runs the completions of all questions that have been answered.
    func process() {
        unsafe _ = ub_process(context)
    }

    /// Asks; `completion` runs inside `process()`, or here at once when the question can't be asked.
    func resolve(
        _ name: String, _ type: DNSRecordType, _ completion: @escaping (DNSAnswer) -> Void
    ) {
        let question = Question(type: type, completion: completion)
        // Safe because the retained object is released by the callback, or below when libunbound
        // didn't take the question.
        let retained = unsafe Unmanaged.passRetained(question)
        let code = unsafe ub_resolve_async(
            context, name, type.rawValue, 1, retained.toOpaque(),
            { argument, code, result in
                guard let argument = unsafe argument else { return }
                let question = unsafe Unmanaged<Question>.fromOpaque(argument).takeRetainedValue()
                let answer = unsafe UnboundContext.answer(question.type, code, result)
                if let result = unsafe result { unsafe ub_resolve_free(result) }
                question.completion(answer)
            }, nil)
        if code != 0 {
            unsafe retained.release()
            completion(.failure(Self.text(of: code)))
        }
    }

    private final class Question {
        let type: DNSRecordType
        let completion: (DNSAnswer) -> Void

        init(type: DNSRecordType, completion: @escaping (DNSAnswer) -> Void) {
            self.type = type
            self.completion = completion
        }
    }

    @unsafe private static func answer(
        _ type: DNSRecordType, _ code: Int32, _ result: UnsafeMutablePointer<ub_result>?
    ) -> DNSAnswer {
        guard code == 0, let result = unsafe result?.pointee else {
            return .failure(text(of: code))
        }
        if unsafe result.nxdomain != 0 { return .noSuchName }
        // RFC 1035 4.1.1: 2 is SERVFAIL, which is also what no answer in time becomes.
        guard unsafe result.rcode == 0 else { return unsafe .failure("DNS error \(result.rcode)") }
        guard unsafe result.havedata != 0, let data = unsafe result.data,
            let lengths = unsafe result.len
        else { return .noRecords }
        var records: [DNSRecord] = []
        var index = 0
        // Safe because `data` ends with a null pointer and `lengths` is as long as it.
        while let octets = unsafe data[index] {
            let bytes = unsafe UnsafeRawBufferPointer(start: octets, count: Int(lengths[index]))
            let copy = unsafe [UInt8](bytes)
            if let record = DNSRecord(type, data: copy.span) { records.append(record) }
            index += 1
        }
        return unsafe .records(records, secondsToLive: Int(result.ttl))
    }
}
