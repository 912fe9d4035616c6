import ElemtaQueue
import ElemtaSMTP

/// What `/metrics` says, gathered on the reactor thread: every figure is at hand or costs a look.
enum MetricsPage {
    static func octets(of server: Server) -> [UInt8] {
        var text = MetricsText()
        text.begin(.buildInfo)
        text.sample(.buildInfo, [Elemta.version], 1)
        text.add(.ready, server.isReady ? 1 : 0)
        addSessions(server.counters, limit: server.limits.maximum, to: &text)
        text.add(.authentications) { (result: Logins.Conclusion) in
            server.logins?.conclusions[result] ?? 0
        }
        addQueue(server.messages.queue, to: &text)
        addDeliveries(server.deliveryCounters, to: &text)
        addProcess(server, to: &text)
        return text.octets
    }

    private static func addSessions(
        _ counters: SessionCounters, limit: Int, to text: inout MetricsText
    ) {
        text.begin(.connections)
        for listener in counters.listeners {
            text.sample(.connections, [listener.address], listener.open)
        }
        text.begin(.connectionsTotal)
        for listener in counters.listeners {
            for outcome in ConnectionOutcome.allCases {
                text.sample(
                    .connectionsTotal, [listener.address, outcome.rawValue],
                    listener.outcomes[outcome])
            }
        }
        text.add(.connectionsLimit, limit)
        text.begin(.tlsSessions)
        for version in ["TLSv1.2", "TLSv1.3"] {
            text.sample(.tlsSessions, [version], counters.tlsSessions[version, default: 0])
        }
        text.add(.tlsFailures, counters.tlsFailures)
        text.begin(.commands)
        for verb in Verb.allCases {
            text.sample(.commands, [verb.name], counters.commands[.known(verb), default: 0])
        }
        text.sample(.commands, ["OTHER"], counters.commands[.unknown, default: 0])
        text.begin(.replies)
        for (code, count) in counters.repliesByCode {
            text.sample(.replies, ["\(code)"], count)
        }
        text.add(.acceptedMessages, counters.acceptedMessages)
        text.add(.acceptedBytes, counters.acceptedOctets)
        text.add(.rejectedMessages) { (reason: RejectionReason) in
            counters.rejectedMessages[reason]
        }
        text.add(.rejectedBytes) { (reason: RejectionReason) in counters.rejectedOctets[reason] }
        text.add(.rejectedRecipients) { (reason: RejectionReason) in
            counters.rejectedRecipients[reason]
        }
        text.add(.loopLag, counters.loopLag)
    }

    /// Bounds of ages, seconds: half a minute to two weeks.
    private static let ages: [Int64] = [
        60, 300, 900, 3600, 10_800, 21_600, 43_200, 86_400, 172_800, 432_000, 1_209_600,
    ]

    private static func addQueue(_ queue: any QueueView, to text: inout MetricsText) {
        let census = queue.census
        let now = queue.sight.now
        let bounds = ages.map(Double.init)
        var histograms: [(state: QueueState, ages: HistogramCounts)] = []
        for state in QueueState.allCases {
            var histogram = HistogramCounts(bounds: bounds)
            census.forEachAge(in: state, at: now) { age, count in
                histogram.observe(Double(age), count: UInt64(count))
            }
            histograms.append((state, histogram))
        }
        text.begin(.queueMessages)
        for (state, ages) in histograms {
            text.sample(.queueMessages, [state.rawValue], ages.counts.reduce(0, +))
        }
        text.begin(.queueAge)
        for (state, ages) in histograms { text.sample(.queueAge, [state.rawValue], ages) }
        let statistics = (try? queue.statistics()) ?? SpoolStatistics()
        text.add(.queueBytes, statistics.octets)
        text.add(.queueFileBytes, statistics.fileOctets)
        text.add(.outstanding, statistics.outstanding)
        text.add(.unreachable, statistics.unreachable)
    }

    private static func addDeliveries(_ counters: DeliveryCounters, to text: inout MetricsText) {
        text.add(.commitMessages, counters.commitMessages.snapshot)
        text.add(.commitDuration, counters.commitDurations.snapshot)
        text.add(.spoolRefused, counters.refused.value)
        text.add(.deliveries) { (outcome: DeliveryCounters.Outcome) in
            counters.deliveries[outcome]
        }
        text.add(.deliveryDuration, counters.durations.snapshot)
        text.add(.failedRecipients, counters.failedRecipients.value)
        text.add(.reports, counters.reports.value)
    }

    private static func addProcess(_ server: Server, to text: inout MetricsText) {
        text.add(.memoryUsed, server.budget.used)
        text.add(.memoryLimit, server.budget.limit)
        text.begin(.backlog)
        for (pool, count) in server.backlogs { text.sample(.backlog, [pool], count) }
        text.add(.logLinesDropped, server.logWriter.droppedInAll.value)
        text.add(.processCPU, ProcessFigures.processorSeconds)
        text.add(.processMemory, ProcessFigures.residentOctets)
        let descriptors = server.descriptorCount.value { server.control?.run($0) }
        text.add(.processDescriptors, descriptors)
        text.add(.processDescriptorLimit, ProcessFigures.descriptorLimit)
        text.add(.processStart, Int(server.begin.seconds))
    }
}
