import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP

/// Octets of a message on their way to the spool or to a content file: the reactor's chain, lent
/// segment by segment. Whoever holds the last reference frees it, on any thread.
final class MessageContent: SpoolContent {
    private let chain: ByteChain
    let octetCount: Int

    init(_ chain: consuming ByteChain) {
        octetCount = chain.count
        self.chain = chain
    }

    func forEachSegment(_ body: (Span<UInt8>) -> Void) {
        chain.forEachSegment(body)
    }
}
