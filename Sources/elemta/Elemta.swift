import ArgumentParser

@main struct Elemta: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "An SMTP server.", version: "0.1.0")
}
