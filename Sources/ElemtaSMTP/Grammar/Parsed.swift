/// What came of reading a command's argument: its value, or the reply that refuses it.
enum Parsed<Value> {
    case value(Value)
    case refused(Reply)
}
