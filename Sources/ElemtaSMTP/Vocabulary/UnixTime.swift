/// A point in time in seconds since 1970-01-01T00:00:00Z, without leap seconds.
///
/// The protocol code keeps no clock: whoever does makes one of these and hands it in.
public struct UnixTime: Hashable, Comparable, Sendable {
    public var seconds: Int64

    public init(seconds: Int64) { self.seconds = seconds }

    public static func < (left: UnixTime, right: UnixTime) -> Bool { left.seconds < right.seconds }

    public static func + (time: UnixTime, seconds: Int64) -> UnixTime {
        UnixTime(seconds: time.seconds + seconds)
    }

    /// The time as the `date-time` of RFC 5322 3.3, in UTC: `Sat, 22 Nov 2025 12:46:00 +0000`.
    public var rfc5322: String {
        var octets: [UInt8] = []
        appendRFC5322(to: &octets)
        return String(decoding: octets, as: UTF8.self)
    }

    /// Appends ``rfc5322``. Each message has one: strings put together took ten times as long.
    func appendRFC5322(to octets: inout [UInt8]) {
        let (year, month, day) = civilDate
        // 1970-01-01 was a Thursday.
        let weekday = Int(Self.remainder(Self.quotient(seconds, 86400) + 4, 7))
        octets.append(contentsOf: Self.weekdays[weekday].utf8)
        octets.append(contentsOf: ", ".utf8)
        octets.append(digits: day)
        octets.append(.space)
        octets.append(contentsOf: Self.months[month - 1].utf8)
        octets.append(.space)
        octets.append(digits: year, atLeast: 4)
        octets.append(.space)
        appendTimeOfDay(to: &octets)
        octets.append(contentsOf: " +0000".utf8)
    }

    /// The time as RFC 3339 writes it, in UTC: `2025-11-22T12:46:00Z`.
    public var rfc3339: String {
        var octets: [UInt8] = []
        appendRFC3339(to: &octets)
        octets.append(UInt8(ascii: "Z"))
        return String(decoding: octets, as: UTF8.self)
    }

    /// Appends ``rfc3339`` without its last letter, so that a fraction can follow.
    public func appendRFC3339(to octets: inout [UInt8]) {
        let (year, month, day) = civilDate
        octets.append(digits: year, atLeast: 4)
        octets.append(UInt8(ascii: "-"))
        octets.append(digits: month, atLeast: 2)
        octets.append(UInt8(ascii: "-"))
        octets.append(digits: day, atLeast: 2)
        octets.append(UInt8(ascii: "T"))
        appendTimeOfDay(to: &octets)
    }

    private func appendTimeOfDay(to octets: inout [UInt8]) {
        let second = Int(Self.remainder(seconds, 86400))
        octets.append(digits: second / 3600, atLeast: 2)
        octets.append(.colon)
        octets.append(digits: second / 60 % 60, atLeast: 2)
        octets.append(.colon)
        octets.append(digits: second % 60, atLeast: 2)
    }

    /// Days to a date in the proleptic Gregorian calendar. Years are counted from March, so that
    /// the leap day is the last of a year; 146,097 days make 400 years.
    private var civilDate: (year: Int, month: Int, day: Int) {
        let days = Self.quotient(seconds, 86400) + 719_468
        let era = Self.quotient(days, 146_097)
        let dayOfEra = days - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (Int(yearOfEra + era * 400 + (month <= 2 ? 1 : 0)), Int(month), Int(day))
    }

    private static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// Division that rounds down, also before 1970.
    private static func quotient(_ value: Int64, _ divisor: Int64) -> Int64 {
        value % divisor < 0 ? value / divisor - 1 : value / divisor
    }

    private static func remainder(_ value: Int64, _ divisor: Int64) -> Int64 {
        let remainder = value % divisor
        return remainder < 0 ? remainder + divisor : remainder
    }
}
