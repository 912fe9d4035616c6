import ElemtaDelivery
import ElemtaQueue
import ElemtaReactor
import Logging

/// What became of deliveries, as log lines: one for each recipient, or for several together.
enum DeliveryLog {
    static func write(_ event: DeliveryEvent, to log: Logger) {
        switch event.outcome {
        case .delivered: log.write(.messageDelivered, fields(event))
        case .deferred: log.write(.deliveryDeferred, fields(event))
        case .failed: log.write(.deliveryFailed, fields(event))
        case .possiblyDuplicated:
            log.write(.deliveryPossiblyDuplicated, fields(event))
        case .loginFailed: log.write(.relayLoginFailed, fields(event))
        }
    }

    private static func fields(_ event: DeliveryEvent) -> LogFields {
        var fields: LogFields = [
            .id: .described(event.id), .destination: .described(event.destination),
            .duration: .number(Int(event.duration / .milliseconds(1))),
            .code: .number(Int(event.status.code)),
            .text: .text(String(decoding: event.status.text, as: UTF8.self)),
        ]
        if let recipient = event.recipient {
            fields[.to] = .described(recipient)
        } else {
            fields[.recipients] = .number(event.recipientCount)
        }
        if let host = event.host { fields[.host] = "\(host)" }
        if let address = event.address { fields[.address] = "\(address)" }
        switch event.channel {
        case nil: break
        case .clear(let cause):
            fields[.tls] = "none"
            if let cause { fields[.tlsFailure] = "\(cause)" }
        case .tls(let description):
            fields[.tls] = "\(description.protocolName)"
            fields[.cipher] = "\(description.cipherName)"
            fields[.verified] = description.isPeerVerified ? "certificate" : "no"
            if let problem = description.verificationProblem {
                fields[.tlsProblem] = "\(problem)"
            }
        }
        return fields
    }
}
