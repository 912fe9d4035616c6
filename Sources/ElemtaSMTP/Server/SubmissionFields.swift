/// What a submission server adds below the trace field (RFC 6409 8): whoever submits a message may
/// have left it to the server.
public enum SubmissionFields {
    /// `Date` (RFC 6409 8.2) and `Message-ID` (8.3), as far as `fields` lacks them, each with its
    /// CRLF; empty when it lacks none.
    ///
    /// - Parameters:
    ///   - id: the message's id, an atom that no other message of this host has.
    ///   - time: when the message came.
    public static func octets(
        missingIn fields: HeaderFields, id: String, hostname: String, time: UnixTime
    ) -> [UInt8] {
        var text = ""
        if !fields.contains(.date) { text += "Date: \(time.rfc5322)\r\n" }
        if !fields.contains(.messageID) { text += "Message-ID: <\(id)@\(hostname)>\r\n" }
        return Array(text.utf8)
    }
}
