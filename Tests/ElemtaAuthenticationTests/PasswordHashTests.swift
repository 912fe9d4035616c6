import Testing

@testable import ElemtaAuthentication

@Suite("Password hashes") struct PasswordHashTests {
    /// All of `hunter2`. The crypt(5) ones by libxcrypt, the others by `slappasswd` and OpenSSL.
    static let hashes: [String] = [
        "{SHA}87u9ZqY9S/F0eUBXjsPQEDUw4h0=",
        "{SSHA}NLQYQbS2iUPMuQ6UBmGFMuJKlrPbiaH338RqMQ==",
        "{SHA256}9S+9MrKzuG/4jvbEkGKChfSCrxXdyylUH5S89Saj9sc=",
        "{SSHA256}RG+sz+KSc03pfDYJLVn2jFJzzgeXmpW1QnQOoEpYarBxfnzOOyPiIg==",
        "{SHA512}a5ftaNFOs/GqlZzl1Jx9xhLh6x2v1zsecFhHSD/WpsgJ8s606N9v+ZhMYpj/Ao"
            + "XKzmYUv42qnwBwEBtsiYmeIg==",
        "{SSHA512}JeTUPvrlbfw1uLiuEIsxSLOyICTWU5Zo15w+vGhK9aoJeAwDJ1mRfK+C0BCYd"
            + "oUKU+E9b9oMyPwiiQYo1DqDWhztPpg+2efn",
        "{ssha}mMLkmyLU2wAbUuhvO7xvQ+WXtUKVgi0v",
        "$y$j75$QYCbEd4rAvCoebM2MNHqK/$uPJjDgYg8SDYDJnepyIiR4H3c/f31gaSQAU0XbauBAD",
        "$gy$j75$rNplnCysTkQ/hXUa/pO6M.$nm5XfzIAni9nqYTv3lXjjnS7NX8amKZm.KBvjH0EsS4",
        "$7$BU..../....V7tzI.lqQZLqU003V/nat/$Qd7gskFTQNILlaMVK6g3aBCENUZKLsetXYKKDdPdom.",
        "$2b$04$cBjt/5BIAXQZ1G/qXXQGoOFR8B97.o2uPkSS0TMMGtls6Q2pTQxve",
        "$2a$04$1LIC6CWUdQE4pLR4nyRv/enLxHL507DkhpfQft43bygHy/39g9Z/u",
        "$2y$04$eAtw4A7WuPO.HyiZrl5dMuC8wsgaBLxw5FOs31ymdi2sbw6kMYUXq",
        "$6$qBuqkmYRKiALNvTN$rC/kIcrncFojOq6/fgCM8c2jqbZMQQqKypFgpefDWmM3IKylUN"
            + "jclyEf5vs10SfbdNMu8ItA494C4dX7s.Fy.1",
        "$6$rounds=1000$6jSLQUJfZ2NZltBo$xgUoP7LjWXSI/vebt9.bS7yQyZZQjkrzBKcJHe"
            + "ap6N/tpGeAEzOuElwM3/p6SrEsUp7aFuD3moSjTJmoKFdqQ0",
        "$5$i43yntbvD12VaSgE$/i1MABOhRYRCrtc41P28.GIo57sv9SozmZCc85LBRH6",
        "$1$bI1roIPk$jSvI4QVWeQpQxqc/zJpfx.",
        "$sha1$225638$TWFZvbUD2MG8BQNCS4mr$5fGVnvfmQn8ZrQX7ipMXiieN38CG",
        "{CRYPT}$2y$04$eAtw4A7WuPO.HyiZrl5dMuC8wsgaBLxw5FOs31ymdi2sbw6kMYUXq",
        "{PLAIN}hunter2",
        "{plain}hunter2",
        "hunter2",
    ]

    @Test("know their password and no other", arguments: hashes)
    func verify(text: String) throws {
        let hash = try PasswordHash(text)
        #expect(hash.matches(Password("hunter2")))
        let wrong = ["hunter", "hunter22", "Hunter2", "hunter2 ", "", " ", text + " ", "{" + text]
        for password in wrong { #expect(!hash.matches(Password(password)), "\(password)") }
        #expect(hash.isBare == !(text.hasPrefix("$") || text.hasPrefix("{")))
    }

    @Test("end at no NUL and at no length that would let another password pass", arguments: hashes)
    func boundaries(text: String) throws {
        let hash = try PasswordHash(text)
        #expect(!hash.matches(Password("hunter2\0")))
        #expect(!hash.matches(Password("hunter2\0anything")))
        #expect(!hash.matches(Password("\0hunter2")))
        #expect(!hash.matches(Password(String(repeating: "x", count: 1 << 20))))
        #expect(!hash.matches(Password(String(repeating: "x", count: 1024))))
    }

    @Test("that nobody could verify are refused, by the name of their scheme alone")
    func refused() {
        let digest = String(repeating: "A", count: 27) + "="
        let table: [(text: String, failure: PasswordHash.Failure)] = [
            ("", .empty), ("{PLAIN}", .empty), ("{plain}", .empty),
            ("{MD5}X03MO1qnZdYdgyfeuILPmQ==", .unknownScheme("{MD5}")),
            ("{md5}X03MO1qnZdYdgyfeuILPmQ==", .unknownScheme("{MD5}")),
            ("$apr1$abc$def", .unknownScheme("$apr1$")),
            ("$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", .unknownScheme("$argon2id$")),
            ("{}x", .unknownScheme(nil)), ("{hunter2}", .unknownScheme(nil)),
            ("{hunter2", .unknownScheme(nil)), ("$hunter2", .unknownScheme(nil)),
            ("$hunter2$", .unknownScheme(nil)), ("$$$", .unknownScheme(nil)),
            ("{CRYPT}hunter2", .unknownScheme(nil)),
            ("{SHA}" + digest.dropLast(2), .malformed(scheme: "{SHA}")),
            ("{SHA}!" + digest.dropFirst(), .malformed(scheme: "{SHA}")),
            ("{SHA}" + digest + "\n", .malformed(scheme: "{SHA}")),
            ("{SHA}", .malformed(scheme: "{SHA}")),
            ("{SSHA}" + digest, .malformed(scheme: "{SSHA}")),
            ("{SHA256}" + digest, .malformed(scheme: "{SHA256}")),
            ("$2b$12$short", .malformed(scheme: "$2b$")),
            ("$2b$99$" + String(repeating: "a", count: 53), .malformed(scheme: "$2b$")),
            ("$6$salt$short", .malformed(scheme: "$6$")),
            ("$6$salt$" + String(repeating: "!", count: 86), .malformed(scheme: "$6$")),
            ("$y$j9T$salt$", .malformed(scheme: "$y$")),
            ("$6$", .malformed(scheme: "$6$")),
            ("{PLAIN}a\0b", .impossible), ("a\0b", .impossible),
            (String(repeating: "x", count: 1025), .impossible),
        ]
        for (text, failure) in table {
            #expect(throws: failure, "\(text)") { _ = try PasswordHash(text) }
            #expect(!failure.description.contains("hunter2"))
        }
    }

    @Test("that are made are what was asked for, salted, and never the same twice")
    func made() throws {
        let table: [(method: PasswordHash.Method, prefix: String)] = [
            (.yescrypt, "$y$"), (.bcrypt, "$2b$12$"),
        ]
        for (method, prefix) in table {
            let one = try PasswordHash.make(Password("hunter2"), with: method)
            let other = try PasswordHash.make(Password("hunter2"), with: method)
            #expect(one.revealed.hasPrefix(prefix))
            #expect(one.revealed != other.revealed)
            #expect(one.matches(Password("hunter2")) && !one.matches(Password("hunter3")))
            #expect(throws: PasswordHash.Failure.empty) {
                _ = try PasswordHash.make(Password(""), with: method)
            }
            #expect(throws: PasswordHash.Failure.impossible) {
                _ = try PasswordHash.make(Password("a\0b"), with: method)
            }
        }
        // bcrypt reads 72 octets and no more.
        let long = Password(String(repeating: "x", count: 73))
        #expect(throws: PasswordHash.Failure.impossible) {
            _ = try PasswordHash.make(long, with: .bcrypt)
        }
        #expect(try PasswordHash.make(long).matches(long))
    }

    @Test("cost more, the slower they are to verify")
    func order() throws {
        let texts = [
            "{SHA}W8rTGA0vpXc6kJ7Ft2UUYHAWKSE=",
            "$1$oJPCRdJF$jp.aw.fMNsPQKNdEGgfe.0",
            "$6$Eo3sG5qIVrb0k6TI$" + String(repeating: "a", count: 86),
            "$y$j9T$G7e3M95GFRpcH2vleCdDZ.$" + String(repeating: "a", count: 43),
            "$6$rounds=100000$Eo3sG5qIVrb0k6TI$" + String(repeating: "a", count: 86),
            "$2b$10$" + String(repeating: "a", count: 53),
            "$y$jBT$G7e3M95GFRpcH2vleCdDZ.$" + String(repeating: "a", count: 43),
            "$2b$12$" + String(repeating: "a", count: 53),
            "$6$rounds=999999999$Eo3sG5qIVrb0k6TI$" + String(repeating: "a", count: 86),
        ]
        let costs = try texts.map { try PasswordHash($0).cost }
        #expect(costs == costs.sorted())
        #expect(Set(costs).count == costs.count)
    }

    @Test("and passwords print as (secret), whoever prints them")
    func redacted() throws {
        let credentials = Credentials("alice", "hunter2")
        let hash = try PasswordHash("hunter2")
        var dumped = ""
        dump(credentials, to: &dumped)
        dump(hash, to: &dumped)
        dump(
            Users(entries: ["a": .init(hash: hash, allowedSenders: nil)], warnings: []), to: &dumped
        )
        let texts = [
            "\(credentials)", "\(credentials.password)", "\(hash)", "\([hash])",
            String(reflecting: credentials), String(reflecting: hash), dumped,
        ]
        for text in texts {
            #expect(!text.contains("hunter2"))
            #expect(text.contains("(secret)"))
        }
    }

    @Test("base64 is read strictly, with or without padding")
    func base64() {
        let table: [(text: String, octets: String?)] = [
            ("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zg", "f"), ("Zm8", "fo"),
            ("Zm9vYmE=", "fooba"), ("Zm9vYmFy", "foobar"), ("Z", nil), ("Zg=", nil), ("Z===", nil),
            ("=", nil), ("==", nil), ("====", nil), ("Zm 9v", nil), ("Zm9v\n", nil), ("Zm-_", nil),
            ("Zg==Zg==", nil),
        ]
        for (text, octets) in table {
            #expect(decodedBase64(text.utf8) == octets.map { Array($0.utf8) }, "\(text)")
        }
    }
}
