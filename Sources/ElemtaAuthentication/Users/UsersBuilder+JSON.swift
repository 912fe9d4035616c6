import FoundationEssentials

extension UsersBuilder {
    /// `{"users": [{"username", "password", "allowed_senders"}]}`, or `{"name": "hash"}`.
    mutating func addJSON(_ octets: [UInt8]) {
        let outline: JSONOutline
        do throws(JSONOutline.Failure) {
            outline = try JSONOutline(octets) { text in
                // Nearly all keys: nothing to decode but UTF-8.
                text.contains(UInt8(ascii: "\\"))
                    ? try? JSONDecoder().decode(String.self, from: Data(text))
                    : String(validating: text.dropFirst().dropLast(), as: UTF8.self)
            }
        } catch {
            return findings.refuse(line: error.line, error.text)
        }
        guard octets.first(where: { !isBlank($0) }) == UInt8(ascii: "{") else {
            return findings.refuse(
                "found a list; allowed: {\"users\": [...]} or {\"user\": \"hash\"}")
        }
        for key in outline.doubled {
            findings.refuse(line: key.line, "found the key \(quoted(key.name)) twice in one object")
        }
        if outline.hasUserList {
            addList(Data(octets), outline)
        } else {
            addMap(Data(octets), outline)
        }
    }

    private mutating func addList(_ data: Data, _ outline: JSONOutline) {
        var isSeen = false
        for key in outline.keys {
            if key.name != "users" {
                findings.refuse(
                    line: key.line, "found the key \(quoted(key.name)); allowed beside: \"users\"")
            } else if isSeen {
                findings.refuse(line: key.line, "found the key \"users\" twice")
            }
            isSeen = isSeen || key.name == "users"
        }
        guard findings.problems.isEmpty else { return }
        guard let document = try? JSONDecoder().decode(UserList.self, from: data) else {
            return findings.refuse("is not JSON")
        }
        for (entry, line) in zip(document.users, outline.userLines) {
            for problem in entry.problems {
                findings.refuse(line: line, user: entry.username, problem)
            }
            guard entry.problems.isEmpty, let user = entry.username, let hash = entry.password
            else { continue }
            add(user, hash: hash, senders: entry.allowedSenders, line: line)
        }
    }

    private mutating func addMap(_ data: Data, _ outline: JSONOutline) {
        guard let hashes = try? JSONDecoder().decode([String: HashText].self, from: data) else {
            return findings.refuse("is not JSON")
        }
        var seen: Set<String> = []
        for key in outline.keys {
            if !seen.insert(key.name).inserted {
                findings.refuse(line: key.line, user: key.name, "is there twice")
            } else if let hash = hashes[key.name]?.text {
                add(key.name, hash: hash, senders: nil, line: key.line)
            } else {
                findings.refuse(
                    line: key.line, user: key.name, "found no string; allowed: \"hash\"")
            }
        }
    }

    private func quoted(_ name: String) -> String { String(name.prefix(80)).debugDescription }
}

/// What `decode` finds, nil when it is of another type; throws on when it isn't JSON.
private func ifOfThatType<Value>(_ decode: () throws -> Value) throws -> Value? {
    do {
        return try decode()
    } catch DecodingError.typeMismatch {
        return nil
    } catch DecodingError.valueNotFound {
        return nil
    }
}

/// The value of the map form; nil text when it isn't a string.
private struct HashText: Decodable {
    let text: String?

    init(from decoder: any Decoder) throws {
        text = try ifOfThatType { try decoder.singleValueContainer().decode(String.self) }
    }
}

struct UserList: Decodable {
    let users: [UserEntry]
}

/// An element of `users`, with what is wrong with it: decoding goes on to the next one.
struct UserEntry: Decodable {
    private(set) var username: String?
    private(set) var password: String?
    private(set) var allowedSenders: [String]?
    private(set) var problems: [String] = []

    private enum Key: String, CodingKey, CaseIterable {
        case username, password
        case allowedSenders = "allowed_senders"
    }

    private struct AnyKey: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    init(from decoder: any Decoder) throws {
        guard let values = try ifOfThatType({ try decoder.container(keyedBy: Key.self) }),
            let all = try ifOfThatType({ try decoder.container(keyedBy: AnyKey.self) })
        else {
            problems.append("found no object; allowed: {\"username\": ..., \"password\": ...}")
            return
        }
        let known = Set(Key.allCases.map(\.rawValue))
        for name in all.allKeys.map(\.stringValue).sorted() where !known.contains(name) {
            // A restriction that is misspelt would be none.
            let found = String(name.prefix(80)).debugDescription
            problems.append("found the key \(found); allowed: \(known.sorted())")
        }
        username = try required(.username, of: values)
        password = try required(.password, of: values)
        guard values.contains(.allowedSenders) else { return }
        allowedSenders = try ifOfThatType {
            try values.decode([String].self, forKey: .allowedSenders)
        }
        if allowedSenders == nil { problems.append("allowed_senders: allowed: a list of strings") }
    }

    private mutating func required(
        _ key: Key, of values: KeyedDecodingContainer<Key>
    ) throws -> String? {
        guard values.contains(key) else {
            problems.append("\(key.rawValue) is missing")
            return nil
        }
        let text = try ifOfThatType { try values.decode(String.self, forKey: key) }
        if text == nil { problems.append("\(key.rawValue): found no string; allowed: a string") }
        return text
    }
}
