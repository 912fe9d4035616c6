import FoundationEssentials

extension UsersDocument {
    /// `octets` have been read without a problem before.
    static func json(_ octets: [UInt8]) -> UsersDocument {
        let data = Data(octets)
        if let list = try? JSONDecoder().decode(UserList.self, from: data) {
            let users = list.users.compactMap { entry -> User? in
                guard let name = entry.username, let hash = entry.password else { return nil }
                return User(name: name, hash: hash, allowedSenders: entry.allowedSenders)
            }
            return UsersDocument(form: .list, users: users)
        }
        let hashes = (try? JSONDecoder().decode([String: String].self, from: data)) ?? [:]
        let users = hashes.keys.sorted().compactMap { name in
            hashes[name].map { User(name: name, hash: $0, allowedSenders: nil) }
        }
        return UsersDocument(form: .map, users: users)
    }

    /// One user a line, which is what tells versions of the file apart.
    var listText: String {
        guard !users.isEmpty else { return "{\"users\": []}\n" }
        let entries = users.map { user in
            var members = [
                "\"username\": \(Self.quoted(user.name))",
                "\"password\": \(Self.quoted(user.hash))",
            ]
            if let senders = user.allowedSenders {
                let texts = senders.map(Self.quoted).joined(separator: ", ")
                members.append("\"allowed_senders\": [\(texts)]")
            }
            return "  {\(members.joined(separator: ", "))}"
        }
        return "{\"users\": [\n\(entries.joined(separator: ",\n"))\n]}\n"
    }

    var mapText: String {
        guard !users.isEmpty else { return "{}\n" }
        let entries = users.map { "  \(Self.quoted($0.name)): \(Self.quoted($0.hash))" }
        return "{\n\(entries.joined(separator: ",\n"))\n}\n"
    }

    private static func quoted(_ text: String) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        // A string can always be encoded.
        let data = (try? encoder.encode(text)) ?? Data()
        return String(decoding: data, as: UTF8.self)
    }
}
