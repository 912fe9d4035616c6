import ElemtaSMTP
import Testing

@testable import ElemtaConfiguration

/// Reads `text` as a file of that name would be.
func read(
    _ text: String, as name: String = "elemta.yaml", environment: [String: String] = [:],
    overrides: [Configuration.Override] = []
) throws(ConfigurationErrors) -> LoadedConfiguration {
    try Configuration.read(
        Array(text.utf8), from: .file(name), environment: environment, overrides: overrides)
}

/// What is wrong with `text`, a line each.
func problems(
    _ text: String, as name: String = "elemta.yaml", environment: [String: String] = [:]
) -> [String] {
    do {
        _ = try read(text, as: name, environment: environment)
        return []
    } catch {
        return error.problems.map(\.description)
    }
}

/// Why a configuration was refused, in all its lines; nil: it wasn't.
func refusal(
    _ load: () throws(ConfigurationErrors) -> LoadedConfiguration
) -> String? {
    do throws(ConfigurationErrors) {
        _ = try load()
        return nil
    } catch {
        return error.description
    }
}

/// Each key as `KeyDescription` would show it if the values of `configuration` were the defaults.
func shown(_ configuration: Configuration) -> [String: String] {
    let keys = Configuration.entries.flatMap { $0.describe("", configuration) }
    return Dictionary(uniqueKeysWithValues: keys.map { ($0.path, $0.defaultValue ?? "") })
}

/// The repository's folder `config`.
let sampleFolder =
    "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/config"

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededNumbers: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
