import ElemtaDelivery
import ElemtaQueue
import ElemtaReactor
import Logging

/// What became of deliveries, as log lines: one for each recipient.
enum DeliveryLog {
    static func write(_ event: DeliveryEvent, to log: Logger) {
        switch event.outcome {
        case .delivered: log.info("message_delivered", metadata: fields(event))
        case .deferred: log.info("delivery_deferred", metadata: fields(event))
        case .failed: log.warning("delivery_failed", metadata: fields(event))
        case .possiblyDuplicated:
            log.warning("delivery_possibly_duplicated", metadata: fields(event))
        case .loginFailed: log.warning("relay_login_failed", metadata: fields(event))
        }
    }

    private static func fields(_ event: DeliveryEvent) -> Logger.Metadata {
        var fields: Logger.Metadata = [
            "id": "\(event.id)", "destination": "\(event.destination)",
            "duration_ms": "\(Int(event.duration / .milliseconds(1)))",
            "code": "\(event.status.code)",
            "text": "\(String(decoding: event.status.text, as: UTF8.self))",
        ]
        if let recipient = event.recipient { fields["to"] = "\(recipient)" }
        if let host = event.host { fields["host"] = "\(host)" }
        if let address = event.address { fields["address"] = "\(address)" }
        switch event.channel {
        case nil: break
        case .clear(let cause):
            fields["tls"] = "none"
            if let cause { fields["tls_failure"] = "\(cause)" }
        case .tls(let description):
            fields["tls"] = "\(description.protocolName)"
            fields["cipher"] = "\(description.cipherName)"
            fields["verified"] = description.isPeerVerified ? "certificate" : "no"
            if let problem = description.verificationProblem {
                fields["tls_problem"] = "\(problem)"
            }
        }
        return fields
    }
}
