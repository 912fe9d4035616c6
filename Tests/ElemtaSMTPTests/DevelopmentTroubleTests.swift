import ElemtaSMTP
import Testing

@Suite struct DevelopmentTroubleTests {
    @Test func localPartsAskForTrouble() {
        let table: [(String, DevelopmentTrouble?)] = [
            ("reject-550", .refuseRecipient(code: 550)),
            ("REJECT-599", .refuseRecipient(code: 599)),
            ("reject-499", nil), ("reject-600", nil), ("reject-", nil), ("reject", nil),
            ("reject-550x", nil), ("reject-+550", nil), ("xreject-550", nil),
            ("defer-451", .refuseRecipient(code: 451)), ("defer-421", .refuseRecipient(code: 421)),
            ("defer-550", nil), ("data-554", .refuseContent(code: 554)),
            ("data-452", .refuseContent(code: 452)), ("data-250", nil), ("data-70000", nil),
            ("delay-5s", .delay(seconds: 5)), ("delay-600S", .delay(seconds: 600)),
            ("delay-601s", nil), ("delay-0s", nil), ("delay-5", nil), ("delay-5sec", nil),
            ("drop", .drop), ("Drop", .drop), ("drops", nil), ("drop-1", nil), ("", nil),
            ("-1", nil),
        ]
        for (text, trouble) in table {
            #expect(DevelopmentTrouble.parse(text.utf8) == trouble, "\(text)")
        }
    }
}
