import ElemtaSMTP
import Glibc
import Testing

@testable import ElemtaQueue

/// A process that accepts and delivers, to be killed.
private struct VictimProcess: ~Copyable {
    private let process: pid_t
    private let output: Int32

    static func start(_ directory: String) throws -> VictimProcess {
        var ends: [Int32] = [-1, -1]
        try #require(unsafe pipe(&ends) == 0)
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        unsafe posix_spawn_file_actions_addclose(&actions, ends[0])
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        let program = spoolLoad
        var words: [UnsafeMutablePointer<CChar>?] = unsafe [
            strdup(program), strdup("accept"), strdup(directory), nil,
        ]
        // Safe because the words live until the child has its copy.
        defer { unsafe words.forEach { unsafe free($0) } }
        var process: pid_t = 0
        let code = unsafe posix_spawn(&process, program, &actions, nil, &words, environ)
        close(ends[1])
        try #require(code == 0, "\(program)")
        return VictimProcess(process: process, output: ends[0])
    }

    private init(process: pid_t, output: Int32) {
        self.process = process
        self.output = output
    }

    deinit { close(output) }

    /// Reads what the process says, kills it once it has said so many lines, and returns the whole
    /// lines it got out.
    func linesUntilKilled(after limit: Int) -> [Substring] {
        var text: [UInt8] = []
        var lines = 0
        var isKilled = false
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe buffer.withUnsafeMutableBytes { buffer in
                unsafe read(output, buffer.baseAddress, buffer.count)
            }
            if count <= 0 { break }
            text += buffer[..<count]
            lines += buffer[..<count].count { $0 == 10 }
            if lines >= limit, !isKilled {
                kill(process, SIGKILL)
                isKilled = true
            }
        }
        var status: Int32 = 0
        unsafe waitpid(process, &status, 0)
        let whole = text.lastIndex(of: 10).map { text[...$0] } ?? []
        return String(decoding: whole, as: UTF8.self).split(separator: "\n")
    }
}

@Suite struct CrashTests {
    @Test("A killed process loses nothing that it acknowledged", .timeLimit(.minutes(2)))
    func killedProcess() throws {
        let directory = try TestDirectory()
        var accepted: Set<String> = []
        var delivered: Set<String> = []
        for round in 0..<3 {
            let lines = try VictimProcess.start(directory.queue).linesUntilKilled(
                after: 200 + round * 333)
            for line in lines {
                let words = line.split(separator: " ")
                try #require(words.count == 2)
                if words[0] == "accepted" { accepted.insert(String(words[1])) }
                if words[0] == "delivered" { delivered.insert(String(words[1])) }
            }
        }
        #expect(accepted.count > 100)
        // A fixture takes the work and gives no answers: everything that is queued comes out.
        let fixture = try SpoolFixture(directory) { $0.mapSize = nil }
        let report = try fixture.event { event in
            if case .recovered(let report) = event { report } else { nil }
        }
        let queued = Set(try fixture.spool.list(limit: .max).messages.map { "\($0.id)" })
        #expect(accepted.subtracting(delivered).subtracting(queued) == [])
        #expect(report.messages == queued.count)
        for id in queued {
            let message = try fixture.spool.read(try #require(MessageID(id)))
            let octets = try message.octets
            #expect(Set(octets).count == 1)
            #expect([500, 10_000, 200_000].contains(octets.count))
        }
    }
}
