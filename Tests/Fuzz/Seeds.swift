import ElemtaSMTP
import Glibc

/// Writes the client's side of every dialogue as an input of the fuzz target into a folder.
@main struct Seeds {
    static func main() {
        guard CommandLine.arguments.count == 2 else { exit(64) }
        for dialogue in Dialogue.all {
            for mode in UInt8(0)..<6 {
                let octets: [UInt8] = [mode, 0, 7, 100] + dialogue.octets.prefix(4000)
                let path = "\(CommandLine.arguments[1])/\(dialogue.name).\(mode)"
                guard let file = unsafe fopen(path, "w") else { exit(73) }
                for octet in octets { unsafe putc(CInt(octet), file) }
                unsafe fclose(file)
            }
        }
    }
}
