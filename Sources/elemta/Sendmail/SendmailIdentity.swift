import ElemtaSMTP
import Glibc

/// Who hands a message in: the user that the program runs as.
struct SendmailIdentity {
    /// The login name; the number where there is none.
    let login: String
    /// As the password file has it; nil where it has none.
    let fullName: String?

    /// Of this process.
    static var own: SendmailIdentity {
        let number = getuid()
        // Safe because getpwuid returns memory that stays until the next call, on this only thread.
        guard let entry = unsafe getpwuid(number) else {
            return SendmailIdentity(login: "\(number)", fullName: nil)
        }
        let login = unsafe String(cString: entry.pointee.pw_name)
        let gecos = unsafe entry.pointee.pw_gecos.map { unsafe String(cString: $0) } ?? ""
        let name = String(gecos.prefix { $0 != "," }).replacing("&", with: login)
        return SendmailIdentity(login: login, fullName: name.isEmpty ? nil : name)
    }

    /// A `From` field for `mailbox`, with `name` before it where that is safe to write.
    static func from(_ mailbox: Mailbox, name: String?) -> String {
        guard let name, !name.isEmpty else { return "\(mailbox)" }
        return phrase(name).map { "\($0) <\(mailbox)>" } ?? "\(mailbox)"
    }

    /// `phrase`, RFC 5322 3.2.5: as it is, quoted, or as an encoded-word of RFC 2047; nil where none of
    /// them will do.
    private static func phrase(_ name: String) -> String? {
        let octets = Array(name.utf8)
        guard octets.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }), octets.count <= 900 else {
            return nil
        }
        if octets.contains(where: { $0 > 127 }) { return encodedWord(octets) }
        let isPlain = octets.allSatisfy { octet in
            octet == 0x20 || UInt8(ascii: "0")...UInt8(ascii: "9") ~= octet
                || UInt8(ascii: "a")...UInt8(ascii: "z") ~= octet | 0x20
        }
        if isPlain { return name }
        let escaped = name.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
        return "\"\(escaped)\""
    }

    /// RFC 2047 4.2; at most 75 octets (2).
    private static func encodedWord(_ octets: [UInt8]) -> String? {
        let text = octets.map { octet in
            let isPlain =
                UInt8(ascii: "0")...UInt8(ascii: "9") ~= octet
                || UInt8(ascii: "a")...UInt8(ascii: "z") ~= octet | 0x20 && octet < 128
            if isPlain { return String(UnicodeScalar(octet)) }
            let digits = String(octet, radix: 16, uppercase: true)
            return octet == 0x20 ? "_" : "=\(digits.count == 1 ? "0" : "")\(digits)"
        }.joined()
        let word = "=?utf-8?Q?\(text)?="
        return word.utf8.count <= 75 ? word : nil
    }
}
