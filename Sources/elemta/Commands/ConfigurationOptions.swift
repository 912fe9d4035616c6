import ArgumentParser
import ElemtaConfiguration

/// The options that every command shares, and how the configuration is found.
struct ConfigurationOptions: ParsableArguments {
    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Read the configuration from this file (YAML or TOML).",
            discussion: """
                Otherwise from ELEMTA_CONFIG, else from the first of ./config/elemta.yaml, \
                ./config/elemta.toml, ./elemta.yaml, ./elemta.toml, /etc/elemta/elemta.yaml and \
                /etc/elemta/elemta.toml that exists.
                """,
            valueName: "file"))
    var config: String?

    /// The configuration with its overrides; prints every error and warning.
    ///
    /// - Throws: exit status 78 when there is an error.
    func load(overrides: [Configuration.Override] = []) throws -> LoadedConfiguration {
        let loaded: LoadedConfiguration
        do throws(ConfigurationErrors) {
            loaded = try Configuration.load(
                explicitPath: config, environment: Configuration.processEnvironment(),
                overrides: overrides)
        } catch {
            for warning in error.warnings { complain("warning: \(warning)") }
            for problem in error.problems { complain("\(problem)") }
            throw ExitStatus.configuration.code
        }
        for warning in loaded.warnings { complain("warning: \(warning)") }
        return loaded
    }
}

/// One sentence for standard error.
func complain(_ text: String) {
    TerminalOutput().complain(text)
}
