import ElemtaSMTP
import Testing

@Suite struct DialogueTests {
    @Test func everyFileIsADialogue() {
        #expect(Dialogue.all.map(\.name) == Dialogue.names && Dialogue.all.count > 40)
    }

    @Test(arguments: Dialogue.all)
    func dialogueIsAnsweredAsWritten(_ dialogue: Dialogue) {
        let (transcript, violations) = dialogue.replay([dialogue.octets[...]])
        #expect(violations == [])
        #expect(
            String(decoding: transcript.replies, as: UTF8.self)
                == String(decoding: dialogue.expected.replies, as: UTF8.self))
        #expect(transcript.isClosed == dialogue.expected.isClosed)
        #expect(transcript.delays == dialogue.expected.delays)
        #expect(transcript.messages.map(\.paths) == dialogue.expected.messages.map(\.paths))
        #expect(transcript.messages.map(\.content) == dialogue.expected.messages.map(\.content))
    }

    @Test(arguments: Dialogue.all)
    func repliesAndContentDoNotDependOnTheCut(_ dialogue: Dialogue) {
        let octets = dialogue.octets
        let whole = dialogue.replay([octets[...]]).transcript
        // Every position of what is short; of what is long, a number of them that takes no minute.
        let stride = max(1, octets.count * octets.count / 4_000_000)
        for cut in Swift.stride(from: 1, to: octets.count, by: stride) {
            let (transcript, violations) = dialogue.replay([octets[..<cut], octets[cut...]])
            guard transcript == whole, violations.isEmpty else {
                Issue.record("cut at \(cut): \(violations) \(transcript)")
                return
            }
        }
    }

    @Test(arguments: Dialogue.all)
    func oneOctetAtATimeIsAnsweredAlike(_ dialogue: Dialogue) {
        let octets = dialogue.octets
        let whole = dialogue.replay([octets[...]]).transcript
        let (transcript, violations) = dialogue.replay(octets.indices.map { octets[$0...$0] })
        #expect(violations == [])
        #expect(transcript == whole)
    }

    @Test(arguments: Dialogue.all, [1, 2, 3, 7, 64, 511])
    func segmentsOfTheBufferMakeNoDifference(_ dialogue: Dialogue, length: Int) {
        let whole = dialogue.replay([dialogue.octets[...]]).transcript
        let (transcript, violations) = dialogue.replay(
            [dialogue.octets[...]], segmentLength: length)
        #expect(violations == [])
        #expect(transcript == whole)
        let trickled = dialogue.replay(
            dialogue.octets.indices.map { dialogue.octets[$0...$0] }, segmentLength: length)
        #expect(trickled.violations == [])
        #expect(trickled.transcript == whole)
    }
}

extension AcceptedMessage {
    /// As a `D:` line writes them.
    var paths: String {
        ([transaction.reversePath.description] + transaction.recipients.map(\.path.description))
            .joined(separator: " ")
    }
}
