import ElemtaSMTP
import Glibc

/// Writes the client's side of every dialogue as an input of the fuzz target into a folder.
@main struct Seeds {
    static func main() {
        guard CommandLine.arguments.count == 2 else { exit(64) }
        // Every mode with nothing offered; with TLS, AUTH and dev mode; with XCLIENT besides.
        let modes = [UInt8(0), 70, 150].flatMap { offered in (0..<10).map { offered + $0 } }
        for dialogue in Dialogue.all {
            for first in modes {
                let octets: [UInt8] = [first, 0, 7, 100] + dialogue.octets.prefix(4000)
                let path = "\(CommandLine.arguments[1])/\(dialogue.name).\(first)"
                guard let file = unsafe fopen(path, "w") else { exit(73) }
                for octet in octets { unsafe putc(CInt(octet), file) }
                unsafe fclose(file)
            }
        }
    }
}
