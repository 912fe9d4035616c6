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
        let (year, month, day) = civilDate
        let second = Int(Self.remainder(seconds, 86400))
        // 1970-01-01 was a Thursday.
        let weekday = Self.weekdays[Int(Self.remainder(Self.quotient(seconds, 86400) + 4, 7))]
        return "\(weekday), \(day) \(Self.months[month - 1]) \(Self.padded(year, 4)) "
            + "\(Self.padded(second / 3600, 2)):\(Self.padded(second / 60 % 60, 2)):"
            + "\(Self.padded(second % 60, 2)) +0000"
    }

    /// The time as RFC 3339 writes it, in UTC: `2025-11-22T12:46:00Z`.
    public var rfc3339: String {
        let (year, month, day) = civilDate
        let second = Int(Self.remainder(seconds, 86400))
        return "\(Self.padded(year, 4))-\(Self.padded(month, 2))-\(Self.padded(day, 2))T"
            + "\(Self.padded(second / 3600, 2)):\(Self.padded(second / 60 % 60, 2)):"
            + "\(Self.padded(second % 60, 2))Z"
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

    private static func padded(_ value: Int, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}
