/// Other settings, while the spool runs.
extension SpoolLoop {
    func adopt(_ change: SpoolChange) {
        options.hostname = change.options.hostname
        options.retry = change.options.retry
        options.failedRetention = change.options.failedRetention
        options.delayWarning = change.options.delayWarning
        options.minimumFree = change.options.minimumFree
        dispatch = change.dispatch
        guard change.isRouting else { return }
        // Whoever is with a worker is found again.
        schedule.travellers = []
        reroute(.all)
    }

    /// Has the messages of a selection sorted by destination anew, in slices between batches.
    func reroute(_ selection: QueueSelection) {
        jobs.append(OperationJob(.reroute, selection) { _ in })
    }
}

extension Schedule {
    /// Sorts what waits of a message by destination anew; when some of it is with a worker, it is to be
    /// asked for again once that has answered.
    mutating func reroute(_ plan: MessagePlan) {
        guard let groups = messages[plan.id]?.groups.all else { return }
        let names = Set(groups.map { destinations.name($0.destination) })
        if names == Set(plan.groups.map(\.destination)) { return }
        if groups.contains(where: \.state.isWithWorker) {
            travellers.insert(plan.id)
        } else {
            add(plan)
        }
    }
}
