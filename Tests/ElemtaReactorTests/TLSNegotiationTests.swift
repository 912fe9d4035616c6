import COpenSSL
import ElemtaReactor
import Testing

@Suite("TLS: what is agreed to") struct TLSNegotiationTests {
    /// Mozilla's "intermediate" configuration 5.7, by the kind of key that the certificate has.
    private static let ciphers: [String: Set<String>] = [
        "ec": [
            "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ],
        "rsa": [
            "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384",
            "ECDHE-RSA-CHACHA20-POLY1305", "DHE-RSA-AES128-GCM-SHA256",
            "DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-CHACHA20-POLY1305",
        ],
    ]

    /// The first of `wishes` that agree on something, by what they wish for.
    private func agreed<Wish: Sendable>(
        key: [String] = ["ec", "ec_paramgen_curve:P-256"], _ choices: [Wish],
        _ wishes: (Wish) -> TLSPeer.Wishes
    ) throws -> [Wish] {
        let server = try TLSServer(key: key)
        return try choices.filter { choice in
            let (connection, peer) = try server.accept()
            defer { connection.close() }
            return try server.test.run(peer, wishes(choice)) { $0.connect() }
        }
    }

    @Test(
        "TLS 1.2: of all the ciphers that OpenSSL has only Mozilla's",
        arguments: [["ec", "ec_paramgen_curve:P-256"], ["rsa", "rsa_keygen_bits:2048"]])
    func ciphers(key: [String]) throws {
        let (status, output) = try execute([
            "openssl", "ciphers", "-s", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0",
        ])
        try #require(status == 0)
        let all = output.split { $0 == ":" || $0 == "\n" }.map(String.init)
        #expect(all.count > 40, "\(all)")
        let agreed = try agreed(key: key, all) { cipher in
            TLSPeer.Wishes(version: TLS1_2_VERSION, ciphers: "\(cipher):@SECLEVEL=0")
        }
        #expect(Set(agreed) == Self.ciphers[key[0]])
    }

    @Test("the client's order of ciphers is followed, as it knows what its hardware does")
    func order() throws {
        let server = try TLSServer()
        for first in ["CHACHA20-POLY1305", "AES256-GCM-SHA384", "AES128-GCM-SHA256"] {
            let (connection, peer) = try server.accept()
            let wishes = TLSPeer.Wishes(
                version: TLS1_2_VERSION, ciphers: "ECDHE-ECDSA-\(first):ECDHE-ECDSA+AESGCM")
            let isConnected = try server.test.run(peer, wishes) { $0.connect() }
            #expect(isConnected)
            #expect(connection.tls?.cipherName == "ECDHE-ECDSA-\(first)")
            connection.close()
        }
    }

    @Test(
        "the curves of Mozilla's list, and no others", arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func groups(version: Int32) throws {
        let agreed = try agreed(["X25519", "P-256", "P-384", "P-521", "X448"]) { group in
            TLSPeer.Wishes(version: version, groups: group)
        }
        // With TLS 1.2 the curve of the certificate's key has to be among the client's too.
        #expect(agreed == (version == TLS1_2_VERSION ? ["P-256"] : ["X25519", "P-256", "P-384"]))
    }

    @Test("a client that offers protocols by ALPN is served without one")
    func applicationProtocols() throws {
        let server = try TLSServer()
        let (connection, peer) = try server.accept()
        let isNoneChosen = try server.test.run(peer) { client in
            let offered = Array("\u{2}h2\u{4}smtp".utf8)
            guard unsafe SSL_set_alpn_protos(client.session, offered, 8) == 0, client.connect()
            else { return false }
            var chosen: UnsafePointer<UInt8>?
            var count: UInt32 = 0
            unsafe SSL_get0_alpn_selected(client.session, &chosen, &count)
            return count == 0
        }
        #expect(isNoneChosen)
        #expect(server.recorder.events == ["tlsEstablished"])
        connection.close()
    }
}
