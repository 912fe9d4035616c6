extension Grammar {
    /// The longest ENVID, RFC 3461 4.4, and the longest ORCPT address, RFC 3461 4.2, octets.
    static let maximumEnvelopeIDLength = 100
    static let maximumOriginalRecipientLength = 500

    /// `esmtp-param = esmtp-keyword ["=" esmtp-value]`, RFC 5321 4.1.2. `value` is nil when there is
    /// no "=", and never empty.
    struct Parameter {
        let keyword: Range<Int>
        let value: Range<Int>?
        let end: Int
    }

    static func parameter(_ text: Span<UInt8>, _ start: Int) -> Parameter? {
        guard let first = text.octet(at: start), first.isLetDig else { return nil }
        var position = start
        while let octet = text.octet(at: position), octet.isLetDig || octet == .hyphen {
            position += 1
        }
        let keyword = start..<position
        guard text.octet(at: position) == .equals else {
            return isWordEnd(text, position)
                ? Parameter(keyword: keyword, value: nil, end: position) : nil
        }
        let valueStart = position + 1
        position = valueStart
        // esmtp-value = 1*(%d33-60 / %d62-126); RFC 6533 3 puts UTF-8 into ORCPT besides.
        while let octet = text.octet(at: position) {
            if octet &- 33 < 94, octet != .equals {
                position += 1
            } else if let end = utf8NonASCII(text, position) {
                position = end
            } else {
                break
            }
        }
        guard position > valueStart, isWordEnd(text, position) else { return nil }
        return Parameter(keyword: keyword, value: valueStart..<position, end: position)
    }

    /// Parameters of MAIL that only some listeners know.
    struct OfferedParameters: OptionSet {
        let rawValue: UInt8

        static let requireTLS = OfferedParameters(rawValue: 1)
        static let authentication = OfferedParameters(rawValue: 2)
    }

    /// `Mail-parameters = esmtp-param *(SP esmtp-param)`, RFC 5321 4.1.2: SIZE (RFC 1870), BODY
    /// (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461), REQUIRETLS (RFC 8689) and AUTH
    /// (RFC 4954). Each at most once.
    static func mailParameters(
        _ text: Span<UInt8>, _ start: Int, isExtended: Bool, _ offered: OfferedParameters
    ) -> Parsed<MailParameters> {
        var parameters = MailParameters()
        var hasBody = false
        var position = start
        while position < text.count {
            guard let next = parameter(text, position + 1) else {
                return .refused(.parameterSyntax)
            }
            position = next.end
            let isValid: Bool
            let word = text.extracting(next.keyword)
            if !isExtended {
                return .refused(.unknownParameter)
            } else if word.isKeyword("SIZE") {
                isValid = parameters.declaredSize == nil
                parameters.declaredSize = size(text, next.value)
                if parameters.declaredSize == nil { return .refused(.parameterSyntax) }
            } else if word.isKeyword("BODY") {
                isValid = !hasBody && body(text, next.value, into: &parameters)
                hasBody = true
            } else if word.isKeyword("SMTPUTF8") {
                isValid = !parameters.smtputf8 && next.value == nil
                parameters.smtputf8 = true
            } else if word.isKeyword("RET") {
                isValid = parameters.returnContent == nil
                parameters.returnContent = returnContent(text, next.value)
                if parameters.returnContent == nil { return .refused(.parameterSyntax) }
            } else if word.isKeyword("ENVID") {
                isValid = parameters.envelopeID == nil
                parameters.envelopeID = envelopeID(text, next.value)
                if parameters.envelopeID == nil { return .refused(.parameterSyntax) }
            } else if offered.contains(.requireTLS), word.isKeyword("REQUIRETLS") {
                isValid = !parameters.requireTLS && next.value == nil
                parameters.requireTLS = true
            } else if offered.contains(.authentication), word.isKeyword("AUTH") {
                isValid = parameters.submitter == nil
                parameters.submitter = submitter(text, next.value)
                if parameters.submitter == nil { return .refused(.parameterSyntax) }
            } else {
                return .refused(.unknownParameter)
            }
            guard isValid else { return .refused(.parameterSyntax) }
        }
        return .value(parameters)
    }

    /// `Rcpt-parameters = esmtp-param *(SP esmtp-param)`, RFC 5321 4.1.2: NOTIFY and ORCPT
    /// (RFC 3461). Each at most once.
    static func rcptParameters(
        _ text: Span<UInt8>, _ start: Int, path: ForwardPath, isExtended: Bool, smtputf8: Bool
    ) -> Parsed<AcceptedRecipient> {
        var notify: NotifyConditions = []
        var original: OriginalRecipient?
        var position = start
        while position < text.count {
            guard let next = parameter(text, position + 1) else {
                return .refused(.parameterSyntax)
            }
            position = next.end
            let word = text.extracting(next.keyword)
            if !isExtended {
                return .refused(.unknownParameter)
            } else if word.isKeyword("NOTIFY") {
                guard notify.isEmpty, let conditions = notifyConditions(text, next.value)
                else { return .refused(.parameterSyntax) }
                notify = conditions
            } else if word.isKeyword("ORCPT") {
                guard original == nil,
                    let recipient = originalRecipient(text, next.value, smtputf8: smtputf8)
                else { return .refused(.parameterSyntax) }
                original = recipient
            } else {
                return .refused(.unknownParameter)
            }
        }
        return .value(
            AcceptedRecipient(path: path, notify: notify, originalRecipient: original))
    }

    /// `size-value = 1*20DIGIT`, RFC 1870 5.
    private static func size(_ text: Span<UInt8>, _ range: Range<Int>?) -> UInt64? {
        guard let range, range.count <= 20 else { return nil }
        for index in range where !text[index].isDigit { return nil }
        // Twenty digits may go beyond 64 bits: more than anything can hold either way.
        return number(text, range.lowerBound)?.value ?? UInt64.max
    }

    /// `body-value = "7BIT" / "8BITMIME"`, RFC 6152 2. BINARYMIME isn't offered.
    private static func body(
        _ text: Span<UInt8>, _ range: Range<Int>?, into parameters: inout MailParameters
    ) -> Bool {
        guard let range else { return false }
        let word = text.extracting(range)
        if word.isKeyword("7BIT") {
            parameters.bodyType = .sevenBit
        } else if word.isKeyword("8BITMIME") {
            parameters.bodyType = .eightBitMIME
        } else {
            return false
        }
        return true
    }

    /// `ret-value = "FULL" / "HDRS"`, RFC 3461 4.3.
    private static func returnContent(
        _ text: Span<UInt8>, _ range: Range<Int>?
    ) -> ReturnContent? {
        guard let range else { return nil }
        let word = text.extracting(range)
        return word.isKeyword("FULL") ? .full : word.isKeyword("HDRS") ? .headers : nil
    }

    /// `envid-parameter = "ENVID=" xtext`, RFC 3461 4.4: printable once decoded, since it goes into
    /// a field of the report.
    private static func envelopeID(_ text: Span<UInt8>, _ range: Range<Int>?) -> [UInt8]? {
        guard let range, let decoded = xtext(text, range, allowingUTF8: false),
            decoded.count <= maximumEnvelopeIDLength
        else { return nil }
        return decoded
    }

    /// `auth-param = "AUTH=" xtext`, RFC 4954 8: a mailbox (with UTF-8 in hexchars, RFC 6531 3.4), or
    /// `<>`, which is empty here.
    private static func submitter(_ text: Span<UInt8>, _ range: Range<Int>?) -> [UInt8]? {
        guard let range,
            let decoded = xtext(text, range, allowingUTF8: false, decodingUTF8: true)
        else { return nil }
        if decoded == [.openAngle, .closeAngle] { return [] }
        return Mailbox(octets: decoded.span) != nil ? decoded : nil
    }

    /// `notify-esmtp-value = "NEVER" / 1#notify-list-element`, RFC 3461 4.1.
    private static func notifyConditions(
        _ text: Span<UInt8>, _ range: Range<Int>?
    ) -> NotifyConditions? {
        guard let range else { return nil }
        if text.extracting(range).isKeyword("NEVER") { return .never }
        var conditions: NotifyConditions = []
        var start = range.lowerBound
        while start <= range.upperBound {
            var end = start
            while end < range.upperBound, text[end] != .comma { end += 1 }
            let word = text.extracting(start..<end)
            if word.isKeyword("SUCCESS") {
                conditions.insert(.success)
            } else if word.isKeyword("FAILURE") {
                conditions.insert(.failure)
            } else if word.isKeyword("DELAY") {
                conditions.insert(.delay)
            } else {
                return nil
            }
            start = end + 1
        }
        return conditions
    }

    /// `orcpt-parameter = "ORCPT=" addr-type ";" xtext`, RFC 3461 4.2; the type `utf-8` may carry
    /// UTF-8 as it is under SMTPUTF8 (RFC 6533 3).
    private static func originalRecipient(
        _ text: Span<UInt8>, _ range: Range<Int>?, smtputf8: Bool
    ) -> OriginalRecipient? {
        guard let range else { return nil }
        var semicolon = range.lowerBound
        while semicolon < range.upperBound, text[semicolon].isAtext { semicolon += 1 }
        guard semicolon > range.lowerBound, semicolon + 1 < range.upperBound,
            text[semicolon] == .semicolon
        else { return nil }
        let type = range.lowerBound..<semicolon
        let takesUTF8 = smtputf8 && text.extracting(type).isKeyword("UTF-8")
        guard
            let address = xtext(text, (semicolon + 1)..<range.upperBound, allowingUTF8: takesUTF8),
            address.count <= maximumOriginalRecipientLength
        else { return nil }
        return OriginalRecipient(addressType: text.octets(type), address: address)
    }

    /// `xtext = *( xchar / hexchar )`, `hexchar = "+" 2(%x30-39 / %x41-46)`, RFC 3461 4, decoded.
    /// Nil also when what it stands for isn't printable, which all users of xtext demand: the octets
    /// end up in header fields and logs. With `decodingUTF8` octets above 127 may come of hexchars;
    /// the caller sees to it that they are UTF-8.
    static func xtext(
        _ text: Span<UInt8>, _ range: Range<Int>, allowingUTF8: Bool, decodingUTF8: Bool = false
    ) -> [UInt8]? {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(range.count)
        var position = range.lowerBound
        while position < range.upperBound {
            let octet = text[position]
            if octet.isXchar {
                decoded.append(octet)
                position += 1
            } else if octet == .plus {
                guard position + 2 < range.upperBound,
                    let high = text[position + 1].upperHexadecimalValue,
                    let low = text[position + 2].upperHexadecimalValue
                else { return nil }
                let value = high << 4 | low
                guard value.isPrintable || decodingUTF8 && value.isEightBit else { return nil }
                decoded.append(value)
                position += 3
            } else if allowingUTF8, let end = utf8NonASCII(text, position),
                end <= range.upperBound
            {
                for index in position..<end { decoded.append(text[index]) }
                position = end
            } else {
                return nil
            }
        }
        return decoded
    }
}
