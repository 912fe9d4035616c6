import COpenSSL
import ElemtaReactor
import ElemtaThreads
import Glibc
import Testing

@Suite("TLS: handshake") struct TLSHandshakeTests {
    @Test(
        "both versions are spoken, and what was agreed on is told",
        arguments: [
            (TLS1_2_VERSION, "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
            (TLS1_3_VERSION, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        ])
    func versions(version: Int32, name: String, cipher: String) throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        server.recorder.then = { connection, event in
            guard case .readable = event else { return }
            connection.write(server.recorder.received)
        }
        let wishes = TLSPeer.Wishes(version: version, name: "Mail.example.com")
        let echo = try server.test.run(peer, wishes) { client in
            client.connect() && client.send(Array("EHLO".utf8)) ? client.receive(4) : []
        }
        #expect(echo == Array("EHLO".utf8))
        #expect(server.recorder.events.prefix(2) == ["tlsEstablished", "readable"])
        let tls = try #require(connection.tls)
        #expect(tls.protocolName == name && tls.cipherName == cipher && tls.cipherBits == 256)
        #expect(tls.serverName == "Mail.example.com")
        #expect(!tls.isResumed && !tls.isPeerVerified)
    }

    @Test(
        "a version that isn't spoken is refused with an alert",
        arguments: [
            (TLSVersion.v12, TLS1_1_VERSION), (.v12, TLS1_VERSION), (.v13, TLS1_2_VERSION),
        ])
    func versionsRefused(minimum: TLSVersion, version: Int32) throws {
        let server = try TLSServer(minimum: minimum)
        let (connection, peer) = try server.accept()
        var reason: String?
        server.recorder.then = { _, event in
            if case .failed(let error) = event { reason = "\(error)" }
        }
        let said = try server.test.run(peer, TLSPeer.Wishes(version: version)) { client in
            _ = client.connect()
            return client.reason
        }
        #expect(said == "tlsv1 alert protocol version")
        #expect(reason == "TLS handshake: unsupported protocol")
        #expect(server.recorder.events == ["failed TLS handshake"])
        #expect(connection.isClosed)
    }

    @Test(
        "the client's name chooses the certificate",
        arguments: [
            (nil, "mail.example.com"), ("mail.example.com", "mail.example.com"),
            ("MX.example.org", "mx.example.org"), ("a.example.net", "*.example.net"),
            ("a.b.example.net", "mail.example.com"), ("example.net", "mail.example.com"),
            ("unknown.example", "mail.example.com"),
        ])
    func certificateByName(name: String?, expected: String) throws {
        let server = try TLSServer(["mail.example.com", "mx.example.org", "*.example.net"])
        for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
            let (connection, peer) = try server.accept()
            let wishes = TLSPeer.Wishes(version: version, name: name)
            let certificate = try server.test.run(peer, wishes) { client in
                client.connect() ? client.serverName : client.reason
            }
            #expect(certificate == expected)
            connection.close()
        }
    }

    @Test(
        "a ticket resumes a session, also after one rotation of the keys, and not after two",
        arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func tickets(version: Int32) throws {
        let keys = TLSTicketKeys()
        let server = try TLSServer(["a.example", "b.example"], ticketKeys: keys)
        let store = SessionStore()
        func isResumed() throws -> Bool {
            let (connection, peer) = try server.accept()
            server.recorder.then = { connection, event in
                if case .tlsEstablished = event { connection.write(Array("220".utf8)) }
            }
            let wishes = TLSPeer.Wishes(version: version, name: "b.example")
            let told = try server.test.run(peer, wishes) { client in
                store.lend(to: client)
                // TLS 1.3 sends tickets behind the handshake.
                guard client.connect(), client.receive(3).count == 3 else { return false }
                store.keep(from: client)
                return unsafe SSL_session_reused(client.session) == 1
            }
            #expect(connection.tls?.isResumed == told)
            connection.close()
            return told
        }
        #expect(try !isResumed())
        #expect(try isResumed())
        keys.rotate()
        #expect(try isResumed())
        keys.rotate()
        #expect(try isResumed(), "the ticket was replaced when it was used")
        keys.rotate()
        keys.rotate()
        #expect(try !isResumed())
    }

    @Test("keys rotate with time, even when nobody asked for long")
    func keysRotateWithTime() throws {
        let server = try TLSServer(ticketKeys: TLSTicketKeys(period: .milliseconds(1)))
        let store = SessionStore()
        for _ in 0..<2 {
            let (connection, peer) = try server.accept()
            let wishes = TLSPeer.Wishes(version: TLS1_2_VERSION)
            let isResumed = try server.test.run(peer, wishes) { client in
                store.lend(to: client)
                guard client.connect() else { return true }
                store.keep(from: client)
                return unsafe SSL_session_reused(client.session) == 1
            }
            #expect(!isResumed)
            connection.close()
            server.test.turn(3)
        }
    }

    @Test("octets that came in clear before the handshake are counted and dropped")
    func injectedPlaintextIsDropped() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.test.pair(server.recorder)
        server.recorder.takesInput = false
        server.recorder.then = { _, _ in server.test.loop.stop() }
        peer.send("STARTTLS\r\nMAIL FROM:<>\r\n")
        server.test.run("readable")
        connection.write(Array("220 go\r\n".utf8))
        server.recorder.then = { _, _ in }
        server.recorder.takesInput = true
        #expect(try connection.startTLS(server: server.context) == 24)
        let answer = try server.test.run(peer) { client in
            var clear = [UInt8](repeating: 0, count: 8)
            _ = unsafe recv(client.peer.number, &clear, 8, Int32(MSG_WAITALL))
            let isSent = client.connect() && client.send(Array("NOOP".utf8))
            return String(decoding: clear, as: UTF8.self) + "\(isSent)"
        }
        #expect(answer == "220 go\r\ntrue")
        #expect(server.recorder.text == "NOOP")
        #expect(throws: ReactorError("startTLS", code: EISCONN)) {
            try connection.startTLS(server: server.context)
        }
    }

    @Test("s_client accepts what is offered, certificate and all")
    func openSSLTool() throws {
        let server = try TLSServer()
        let listener = try server.test.listener { [test = server.test] socket in
            let connection = try? Connection(
                loop: test.loop, accepted: socket, delegate: server.recorder)
            _ = try? connection?.startTLS(server: server.context)
            if let connection { test.hold(connection) }
        }
        server.recorder.then = { connection, event in
            if case .readable = event { connection.closeAfterFlush() }
        }
        let arguments = [
            "openssl", "s_client", "-connect", "\(listener.boundAddress)", "-brief",
            "-servername", "mail.example.com", "-verify_return_error",
            "-CAfile", server.certificates.path("mail.example.com.pem"),
        ]
        let results = Inbox<String>()
        let loop = server.test.loop
        let pipe = try EventPipe<Void>(loop: loop) { _ in loop.stop() }
        let thread = try NamedThread("s_client") {
            let result = try? execute(arguments, input: "QUIT\n")
            results.post("\(result?.status ?? -1) \(result?.output ?? "")")
            pipe.post(())
        }
        server.test.run("the end of s_client")
        thread.join()
        let output = try #require(results.takeOne())
        #expect(output.hasPrefix("0 ") && output.contains("Verification: OK"), "\(output)")
        #expect(server.recorder.events.first == "tlsEstablished")
    }
}

/// Keeps one session of a client for the next: ours, since threads take turns.
@safe final class SessionStore: @unchecked Sendable {
    private var session: OpaquePointer?

    func keep(from client: TLSPeer) {
        if let session = unsafe session { unsafe SSL_SESSION_free(session) }
        unsafe session = SSL_get1_session(client.session)
        // Else OpenSSL takes the session for one that can't be resumed.
        unsafe SSL_shutdown(client.session)
    }

    func lend(to client: TLSPeer) {
        if let session = unsafe session { unsafe SSL_set_session(client.session, session) }
    }

    deinit {
        if let session = unsafe session { unsafe SSL_SESSION_free(session) }
    }
}

@Suite("TLS: our client") struct TLSClientTests {
    /// What both sides of a handshake were told.
    private func outcome(
        _ policy: TLSClientContext.Policy, name: String, trusted: Bool
    ) throws -> (client: String, problem: String?, server: [String]) {
        let server = try TLSServer()
        let other = try server.certificates.make("other.example")
        let authorities =
            trusted
            ? server.certificates.path("mail.example.com.pem") : other.certificateFile
        let context = try TLSClientContext(policy, authorities: .file(authorities))
        let listener = try server.test.listener { [test = server.test] socket in
            let connection = try? Connection(
                loop: test.loop, accepted: socket, delegate: server.recorder)
            _ = try? connection?.startTLS(server: server.context)
            if let connection { test.hold(connection) }
        }
        let recorder = Recorder()
        var result = ""
        recorder.then = { connection, event in
            switch event {
            case .connected:
                _ = try? connection.startTLS(client: context, name: name)
                connection.write(Array("EHLO".utf8))
            case .failed(let error):
                result = "\(error)"
                server.test.loop.stop()
            default: break
            }
        }
        server.recorder.then = { _, event in
            if case .readable = event { server.test.loop.stop() }
        }
        let connection = try Connection.connect(
            loop: server.test.loop, to: listener.boundAddress, timeout: .seconds(5),
            delegate: recorder)
        server.test.run("a handshake")
        if server.recorder.text == "EHLO" { result = "established" }
        server.test.turn(3)
        return (result, connection.tls?.verificationProblem, server.recorder.events)
    }

    @Test("required: a trusted certificate with the right name, or nothing")
    func required() throws {
        let good = try outcome(.required, name: "mail.example.com.", trusted: true)
        #expect(good.client == "established" && good.problem == nil)
        let misnamed = try outcome(.required, name: "mx.example.com", trusted: true)
        #expect(
            misnamed.client
                == "TLS handshake: certificate verify failed: hostname mismatch")
        #expect(misnamed.server == ["failed TLS handshake"])
        let unknown = try outcome(.required, name: "mail.example.com", trusted: false)
        #expect(
            unknown.client
                == "TLS handshake: certificate verify failed: self-signed certificate")
        let address = try outcome(.required, name: "127.0.0.1", trusted: true)
        #expect(
            address.client
                == "TLS handshake: certificate verify failed: IP address mismatch")
    }

    @Test("opportunistic: any certificate, and what is wrong with it is known")
    func opportunistic() throws {
        let good = try outcome(.opportunistic, name: "mail.example.com", trusted: true)
        #expect(good.client == "established" && good.problem == nil)
        let misnamed = try outcome(.opportunistic, name: "mx.example.com", trusted: true)
        #expect(misnamed.client == "established" && misnamed.problem == "hostname mismatch")
        let unknown = try outcome(.opportunistic, name: "mail.example.com", trusted: false)
        #expect(unknown.client == "established")
        #expect(unknown.problem == "self-signed certificate")
    }

    @Test("a server that doesn't speak TLS fails the handshake")
    func plainServer() throws {
        let test = try TestLoop()
        let recorder = Recorder()
        let (connection, peer) = try test.pair(recorder)
        var reason: String?
        recorder.then = { _, event in
            if case .failed(let error) = event { reason = "\(error)" }
            test.loop.stop()
        }
        let context = try TLSClientContext(.opportunistic)
        #expect(throws: ReactorError("startTLS", code: EINVAL)) {
            try connection.startTLS(
                client: context, name: String(repeating: "x", count: 300))
        }
        try connection.startTLS(client: context, name: "mail.example.com")
        peer.send("220 mail.example.com ESMTP\r\n")
        test.run("failed")
        #expect(reason == "TLS handshake: wrong version number")
    }
}

@Suite("TLS: contexts") struct TLSContextTests {
    @Test("what is wrong with the files is said, and with which")
    func errors() throws {
        let certificates = try Certificates()
        let good = try certificates.make("good.example")
        let other = try certificates.make("other.example")
        let rsa = try certificates.make("rsa.example", key: ["rsa", "rsa_keygen_bits:2048"])
        let weak = try certificates.make("weak.example", key: ["rsa", "rsa_keygen_bits:1024"])
        let (missing, garbage) = (certificates.path("missing"), certificates.path("garbage"))
        let encrypted = certificates.path("encrypted")
        try write(Array("no certificate".utf8), to: garbage)
        try execute([
            "openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", good.keyFile,
            "-out", encrypted,
        ])
        let folder = certificates.directory.path
        func refusal(_ certificate: String, _ key: String) -> String {
            do throws(TLSContextError) {
                let files = TLSCertificateFiles(certificateFile: certificate, keyFile: key)
                _ = try TLSServerCertificate(files, ticketKeys: TLSTicketKeys())
                return "accepted"
            } catch {
                return error.description.replacing(folder + "/", with: "")
            }
        }
        #expect(refusal(good.certificateFile, good.keyFile) == "accepted")
        #expect(refusal(rsa.certificateFile, rsa.keyFile) == "accepted")
        #expect(refusal(missing, good.keyFile) == "missing doesn't exist")
        #expect(refusal(good.certificateFile, missing) == "missing doesn't exist")
        #expect(
            refusal(good.certificateFile, "/etc") == "/etc can't be read: open: Is a directory")
        #expect(
            refusal("/dev/null", good.keyFile)
                == "/dev/null can't be read: open: Operation not supported")
        #expect(
            refusal(garbage, good.keyFile) == "garbage holds no usable certificate: no start line")
        #expect(
            refusal(good.certificateFile, garbage)
                == "garbage holds no usable private key: unsupported")
        #expect(
            refusal(weak.certificateFile, weak.keyFile)
                == "weak.example.pem holds no usable certificate: ee key too small")
        #expect(
            refusal(good.certificateFile, encrypted)
                == "encrypted: the private key is protected by a passphrase")
        for key in [other.keyFile, rsa.keyFile] {
            let name = key.replacing(folder + "/", with: "")
            #expect(
                refusal(good.certificateFile, key)
                    == "the private key in \(name) doesn't belong to the certificate in "
                    + "good.example.pem")
        }
        #expect(throws: TLSContextError.missing(file: missing)) {
            try TLSClientContext(.required, authorities: .file(missing))
        }
    }

    @Test("when a certificate ends is known, and one that has ended is taken all the same")
    func expiry() throws {
        let certificates = try Certificates()
        let files = [
            try certificates.make("good.example"), try certificates.make("old.example"),
        ]
        try certificates.expire(files[1])
        let loaded = try files.map {
            try TLSServerCertificate($0, ticketKeys: TLSTicketKeys())
        }
        let now = Int64(time(nil))
        #expect(loaded.map(\.files) == files)
        #expect((now + 29 * 86_400...now + 31 * 86_400).contains(loaded[0].notAfter))
        #expect(loaded[1].notAfter <= now)
        #expect((now - 600...now).contains(loaded[0].notBefore))
    }
}
