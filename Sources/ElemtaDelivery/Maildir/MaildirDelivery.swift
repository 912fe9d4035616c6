import ElemtaQueue
import ElemtaReactor
import ElemtaSMTP
import ElemtaThreads

/// Delivers into maildirs, on a few threads of its own: a slow disk holds no connection up.
final class MaildirDelivery: Sendable {
    /// The kernel gathers what they sync at the same time; more of them only make a disk seek more.
    private static let threadCount = 4

    /// What is answered together: an item ends when it has had so many recipients in so long, and the
    /// others are offered again. Whoever has got it and isn't recorded gets it twice after a crash.
    struct Portion {
        var recipients = 100
        var time = Duration.seconds(1)
    }

    private let side: ThreadSide
    private let threads: [NamedThread]

    /// Starts the threads. `ownDomain` is where `<Postmaster>` without a domain is.
    init(
        store: any MessageStore, ownDomain: Domain, portion: Portion = Portion(),
        events: @escaping @Sendable (DeliveryEvent) -> Void
    ) throws(DeliveryError) {
        let side = ThreadSide(
            store: store, ownDomain: ownDomain, portion: portion, events: events)
        var threads: [NamedThread] = []
        do throws(ThreadError) {
            for number in 0..<Self.threadCount {
                threads.append(try NamedThread("elemta-md-\(number)") { side.run() })
            }
        } catch {
            side.stop()
            for thread in threads { thread.join() }
            throw .thread(error)
        }
        self.side = side
        self.threads = threads
    }

    func deliver(_ items: [WorkItem]) { side.take(items) }

    /// Deliveries that wait for a thread.
    var backlog: Int { side.backlog }

    /// Goes by another name from the next recipient on.
    func change(ownDomain: Domain) { side.change(ownDomain) }

    /// Ends after the recipient that each thread is at; the others are answered as not attempted.
    func stop() {
        side.stop()
        for thread in threads { thread.join() }
    }

    private final class ThreadSide: Sendable {
        private let inbox = Inbox<WorkItem>()
        private let isStopping = Locked(false)
        private let store: any MessageStore
        private let own: Locked<Own>
        private let portion: Portion
        private let events: @Sendable (DeliveryEvent) -> Void

        /// What goes by the name of this server.
        private struct Own {
            let domain: Domain
            let writer: MaildirWriter

            init(_ domain: Domain) {
                self.domain = domain
                writer = MaildirWriter(hostname: "\(domain)")
            }
        }

        init(
            store: any MessageStore, ownDomain: Domain, portion: Portion,
            events: @escaping @Sendable (DeliveryEvent) -> Void
        ) {
            self.store = store
            own = Locked(Own(ownDomain))
            self.portion = portion
            self.events = events
        }

        func change(_ domain: Domain) {
            own.withLock { if $0.domain != domain { $0 = Own(domain) } }
        }

        func take(_ items: [WorkItem]) {
            for item in items where !inbox.post(item) {
                store.record([DeliveryOutcome(item, .all(.notAttempted))])
            }
        }

        var backlog: Int { inbox.count }

        func stop() {
            isStopping.withLock { $0 = true }
            inbox.close()
        }

        func run() {
            while let item = inbox.takeOne() { store.record([outcome(of: item)]) }
        }

        private func outcome(of item: WorkItem) -> DeliveryOutcome {
            guard !isStopping.withLock({ $0 }),
                case .maildir(let template)? = DeliveryTerms(name: item.destination.name)?.hop
            else { return DeliveryOutcome(item, .all(.notAttempted)) }
            if let obstacle = NextHop.maildir(template).obstacle {
                return unreached(item, because: obstacle)
            }
            let message: OutboundMessage
            do throws(SpoolError) {
                message = try store.fetch(item.id)
            } catch .unknownMessage, .stopped, .noDescriptors {
                return DeliveryOutcome(item, .all(.notAttempted))
            } catch {
                let reason = FailureReason(unreadable: error)
                tell(of: nil, reason.result, item, since: .now)
                return DeliveryOutcome(item, .all(reason.result))
            }
            let results = results(of: item, message, template)
            return DeliveryOutcome(item, results.isEmpty ? .all(.notAttempted) : .each(results))
        }

        private func unreached(
            _ item: WorkItem, because obstacle: String
        ) -> DeliveryOutcome {
            let reason = FailureReason(
                EnhancedStatus(.persistentTransientFailure, 3, 5),
                "No mailbox can be written: \(obstacle)")
            tell(of: nil, reason.result, item, since: .now)
            return DeliveryOutcome(
                id: item.id, destination: item.destination, results: .unreached(reason.status))
        }

        /// Of one portion, or of those whose turn came before the server stops: the others count as not
        /// attempted.
        private func results(
            of item: WorkItem, _ message: OutboundMessage, _ template: MaildirTemplate
        ) -> [(recipient: UInt32, result: RecipientResult)] {
            var results: [(recipient: UInt32, result: RecipientResult)] = []
            let start = MonotonicTime.now
            for index in item.recipients.pending(in: message.envelope) {
                let isEnough =
                    results.count >= portion.recipients && .now - start >= portion.time
                if isEnough || isStopping.withLock({ $0 }) { break }
                let recipient = message.envelope.recipients[index].path
                let began = MonotonicTime.now
                let result = deliver(message, to: recipient, template)
                tell(of: recipient, result, item, since: began)
                results.append((UInt32(index), result))
            }
            return results
        }

        private func deliver(
            _ message: OutboundMessage, to recipient: ForwardPath, _ template: MaildirTemplate
        ) -> RecipientResult {
            let own = own.withLock { $0 }
            let mailbox =
                recipient.mailbox ?? Mailbox(localPart: "postmaster".utf8, domain: own.domain)
            guard let mailbox, let components = template.components(for: mailbox) else {
                return FailureReason(
                    EnhancedStatus(.permanentFailure, 1, 1), "No mailbox can have this name"
                ).result
            }
            do throws(FileError) {
                try own.writer.deliver(
                    message, to: mailbox, components: components, below: template.root)
                return .delivered(
                    DeliveryStatus(
                        enhancedStatus: EnhancedStatus(.success, 0, 0),
                        text: Array("Delivered to the mailbox".utf8)))
            } catch {
                return FailureReason(error).result
            }
        }

        private func tell(
            of recipient: ForwardPath?, _ result: RecipientResult, _ item: WorkItem,
            since began: MonotonicTime
        ) {
            let outcome: DeliveryEvent.Outcome =
                switch result {
                case .delivered, .relayed: .delivered
                case .failed: .failed
                case .deferred, .notAttempted: .deferred
                }
            events(
                DeliveryEvent(
                    id: item.id, recipient: recipient,
                    recipientCount: recipient == nil ? item.recipients.count : 1,
                    destination: item.destination, host: nil, address: nil, channel: nil,
                    outcome: outcome, status: result.status ?? DeliveryStatus(),
                    duration: .now - began))
        }
    }
}
