import ElemtaSMTP

/// The path of a maildir, with `{domain}` and `{local}` where the recipient's own parts come.
///
/// Whatever a recipient is called, the path stays below ``root``: what is put in is one component,
/// or a part of one, without `/` and never beginning with a dot.
public struct MaildirTemplate: Hashable, Sendable {
    /// As in the configuration, from the `/` on.
    public let text: String
    /// What has to be there before any mail comes: everything in front of the first component with a
    /// placeholder, and never the maildir itself. It isn't made, since where nothing is mounted
    /// nothing is to be written.
    public let root: String
    /// What is made below it, each one component.
    private let components: [Substring]

    /// Nil unless `text` is an absolute path below some directory, without `..` and without braces
    /// but those of the placeholders.
    public init?(_ text: String) {
        let all = text.split(separator: "/").filter { $0 != "." }
        guard text.hasPrefix("/"), !text.utf8.contains(0), let last = all.last,
            all.allSatisfy(Self.isComponent)
        else { return nil }
        let fixed = all.prefix { !$0.contains("{") }
        let rootCount = fixed.count == all.count ? all.count - 1 : fixed.count
        self.text = text
        root = "/" + all.prefix(rootCount).joined(separator: "/")
        components = rootCount < all.count ? Array(all[rootCount...]) : [last]
    }

    private static func isComponent(_ component: Substring) -> Bool {
        let rest = component.replacing("{domain}", with: "").replacing("{local}", with: "")
        return component != ".." && !rest.contains("{") && !rest.contains("}")
    }

    /// The components below ``root`` that lead to a mailbox's maildir. Nil for a mailbox that can't
    /// have one: an empty local-part (`""@example.com`), or one that makes a component longer than
    /// the 255 octets that a file system takes.
    func components(for mailbox: Mailbox) -> [String]? {
        let local = Self.localName(mailbox)
        guard !local.isEmpty else { return nil }
        let domain = Self.domainName(mailbox.domain)
        let filled = components.map {
            $0.replacing("{domain}", with: domain).replacing("{local}", with: local)
        }
        return filled.allSatisfy { $0.utf8.count <= 255 } ? filled.map { String($0) } : nil
    }

    /// A name for whom a local-part stands for. Mail for `Bob`, `bob+lists` and `"bob"` goes to one
    /// mailbox, as they are one recipient: what is behind a `+` is a detail for whoever reads the mail.
    private static func localName(_ mailbox: Mailbox) -> String {
        var octets = mailbox.comparedLocalPart
        if let plus = octets.firstIndex(of: UInt8(ascii: "+")), plus > 0 {
            octets.removeSubrange(plus...)
        }
        return escaped(octets)
    }

    /// A-labels, so that both ways of writing one domain lead to one folder (RFC 5890 2.3.2.1).
    private static func domainName(_ domain: Domain) -> String {
        escaped(DomainNameEncoding.asciiName(of: domain).map { Array($0.utf8) } ?? domain.octets)
    }

    /// Letters, digits, what is beyond ASCII and a few signs stay, everything else becomes `%` and
    /// two digits; so does a dot in front. Two names never become one.
    private static func escaped(_ name: [UInt8]) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var octets: [UInt8] = []
        for (index, octet) in name.enumerated() {
            if isHarmless(octet), octet != UInt8(ascii: ".") || index > 0 {
                octets.append(octet)
            } else {
                octets.append(UInt8(ascii: "%"))
                octets.append(digits[Int(octet >> 4)])
                octets.append(digits[Int(octet & 0xF)])
            }
        }
        return String(decoding: octets, as: UTF8.self)
    }

    private static func isHarmless(_ octet: UInt8) -> Bool {
        switch octet {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), 0x80...:
            true
        case UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "+"),
            UInt8(ascii: "="), UInt8(ascii: "@"):
            true
        default: false
        }
    }
}
