/// A password or token. Whatever prints it, a log line or a debugger's dump, prints `(secret)`.
public struct Secret: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// The secret itself, for whoever must present it.
    public let revealed: String

    public init(_ text: String) {
        revealed = text
    }

    public var description: String { "(secret)" }
    public var debugDescription: String { "(secret)" }
    public var customMirror: Mirror { Mirror(self, children: EmptyCollection<Mirror.Child>()) }
}

/// Where a secret comes from: never the configuration file itself.
public enum SecretSource: Hashable, Sendable {
    case none
    /// The name of a file that holds it.
    case file(String)
    /// It was in an environment variable.
    case given(Secret)
}
