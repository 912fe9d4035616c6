public import ElemtaQueue
public import ElemtaSMTP

/// A running `DeliveryService` by other routes than it was started with. Any thread.
public final class RoutedDelivery: DeliveryDispatch {
    private let router: Router
    private let service: DeliveryService

    init(router: Router, service: DeliveryService) {
        self.router = router
        self.service = service
    }

    public func destination(
        for recipient: ForwardPath, demand: TransportDemand
    ) -> Destination {
        router.destination(for: recipient, demand: demand)
    }

    /// Which rule says where a message with this demand goes: pure.
    public func decision(
        for recipient: ForwardPath, demand: TransportDemand
    ) -> RouteDecision {
        router.decision(for: recipient, demand: demand)
    }

    public func deliver(_ work: [WorkItem]) { service.deliver(work) }
}
