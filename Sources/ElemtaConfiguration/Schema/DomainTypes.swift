import ElemtaSMTP

/// RFC 5321 2.3.5: what the server calls itself travels to clients that know no SMTPUTF8.
func asciiDomain(_ text: String) -> Domain? {
    guard let domain = Domain(text), domain.octets.allSatisfy({ $0 < 0x80 }) else { return nil }
    return domain
}

extension ValueType where Value == Int {
    static func seconds(_ range: ClosedRange<Int>) -> ValueType { .integer(range, "seconds") }
}

extension ValueType where Value == Domain {
    static var asciiDomain: ValueType {
        .described("an ASCII domain name", parse: ElemtaConfiguration.asciiDomain)
    }
}

extension ValueType where Value == IPSubnet {
    static var subnet: ValueType {
        .described("an IP address, or a subnet like 10.0.0.0/8 without host bits") { IPSubnet($0) }
    }
}

extension ValueType where Value == Configuration.DomainPattern {
    static var domainPattern: ValueType {
        .described("\"example.com\", \".example.com\" (its subdomains) or \"*\"") {
            Configuration.DomainPattern($0)
        }
    }

    /// No `*`: a server for which every domain is local relays for everybody.
    static var localDomain: ValueType {
        .described("\"example.com\" or \".example.com\" (its subdomains)") {
            $0 == "*" ? nil : Configuration.DomainPattern($0)
        }
    }
}

extension ValueType where Value == Configuration.ListenAddress {
    static var listenAddressForms: String {
        "\":2525\" (all addresses), \"127.0.0.1:2525\" or \"[::1]:2525\""
    }
}

extension ValueType where Value == Configuration.ListenAddress? {
    static var listenAddress: ValueType {
        .string(
            allowed: ValueType<Configuration.ListenAddress>.listenAddressForms,
            show: { $0?.description ?? "" }
        ) { text in
            Configuration.ListenAddress(text).map { .some($0) }
        }
    }

    static var optionalListenAddress: ValueType {
        .optional(ValueType<Configuration.ListenAddress>.listenAddressForms) {
            Configuration.ListenAddress($0)
        }
    }
}

extension ValueType where Value == Configuration.Rate {
    static var rateForm: String { "a rate like \"100/60s\"" }
}
