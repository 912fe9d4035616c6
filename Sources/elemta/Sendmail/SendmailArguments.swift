/// The command line of sendmail(8), as far as programs use it.
struct SendmailArguments: Equatable {
    /// What is to be done.
    enum Mode: Equatable {
        /// `-bm`: a message on standard input.
        case deliver
        /// `-bs`: SMTP on standard input and output.
        case speakSMTP
        /// `-bp`, or called as `mailq`: the queue.
        case listQueue
        /// `-bi`, `-q`, or called as `newaliases`: what the server sees to by itself.
        case nothing
    }

    /// Why it is of no use.
    struct Failure: Error, Equatable, CustomStringConvertible {
        let description: String
    }

    var mode = Mode.deliver
    /// `-f`, `-r`: where reports go; empty for nobody.
    var sender: String?
    /// `-F`: whose name a missing `From` bears.
    var fullName: String?
    /// `-t`: recipients are in the header section, too.
    var readsRecipients = false
    /// `-i`, `-oi`: a line with a lone dot is one.
    var ignoresDots = false
    /// `-c`, `--config`, `-C`: the configuration.
    var configuration: String?
    /// `-N`: when the sender wants a report, as RCPT has it.
    var notify: String?
    /// `-R`: what a report brings back, as MAIL has it.
    var returns: String?
    /// `-V`: ENVID.
    var envelopeID: String?
    var recipients: [String] = []

    /// Options with a value in the same word or the next one that mean nothing here: the body's type
    /// (it is looked at), hop counts, labels, protocols, options of sendmail's own, logs.
    private static let ignoredWithValue = Set("BhLXOp")
    /// Options without one: me too, verbose, no aliases, initial submission, relayed.
    private static let ignored = Set("mvnUGEI")

    /// `words` without the program's name.
    init(_ words: [String]) throws(Failure) {
        var rest = words[...]
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word != "-" else {
                recipients.append(word)
                continue
            }
            if word == "--" {
                recipients += rest
                break
            }
            if word.hasPrefix("--") {
                try takeLong(word, &rest)
            } else {
                try take(word.dropFirst(), &rest)
            }
        }
    }

    private mutating func takeLong(
        _ word: String, _ rest: inout ArraySlice<String>
    ) throws(Failure) {
        let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts[0] == "--config" else { throw Failure(description: "unknown option \(word)") }
        guard let value = parts.count > 1 ? String(parts[1]) : rest.popFirst() else {
            throw Failure(description: "--config needs a file")
        }
        configuration = value
    }

    /// A word of one or several letters: `-ti` is `-t -i`, `-fa@b` is `-f a@b`.
    private mutating func take(
        _ letters: Substring, _ rest: inout ArraySlice<String>
    ) throws(Failure) {
        var letters = letters
        while let letter = letters.popFirst() {
            switch letter {
            case "t": readsRecipients = true
            case "i": ignoresDots = true
            case "o":
                takeOption(letters.isEmpty ? rest.popFirst() ?? "" : String(letters))
                return
            case "b":
                try takeMode(letters)
                return
            case "q":
                mode = .nothing
                return
            case "A", "e", "d":
                // `-Ac` chooses among sendmail's configurations, `-em` how errors are told, `-d0`
                // what is traced: the value is in the same word.
                return
            case "f", "r", "F", "C", "c", "N", "R", "V":
                try takeValue(of: letter, letters, &rest)
                return
            case _ where Self.ignoredWithValue.contains(letter):
                // Without a next word there is nothing to ignore.
                if letters.isEmpty { _ = rest.popFirst() }
                return
            case _ where Self.ignored.contains(letter): break
            default: throw Failure(description: "unknown option -\(letter)")
            }
        }
    }

    /// `-oi` is `-i`; all others of sendmail's options choose what isn't chosen here.
    private mutating func takeOption(_ option: String) {
        if option.hasPrefix("i") { ignoresDots = true }
    }

    private mutating func takeMode(_ letters: Substring) throws(Failure) {
        switch letters {
        case "m", "a": mode = .deliver
        case "s": mode = .speakSMTP
        case "p": mode = .listQueue
        case "i": mode = .nothing
        case "d", "D": throw Failure(description: "-b\(letters): run elemta server instead")
        default: throw Failure(description: "-b\(letters) isn't known here")
        }
    }

    private mutating func takeValue(
        of letter: Character, _ letters: Substring, _ rest: inout ArraySlice<String>
    ) throws(Failure) {
        guard let value = letters.isEmpty ? rest.popFirst() : String(letters) else {
            throw Failure(description: "-\(letter) needs a value")
        }
        switch letter {
        case "f", "r": sender = value
        case "F": fullName = value
        case "N": notify = value
        case "R": returns = value
        case "V": envelopeID = value
        default: configuration = value
        }
    }
}
