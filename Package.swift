// swift-tools-version: 6.2
import PackageDescription

/// What every target of ours is compiled with: unsafe code is marked, warnings stop the build,
/// and what a file uses it imports.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// A C library from Debian, found by its headers; the module map names what to link.
func library(_ name: String, pkgConfig: String, package: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([package])])
}

func room(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(of room: String, _ dependencies: [Target.Dependency] = [], resources: [Resource] = [])
    -> Target
{
    .testTarget(
        name: "\(room)Tests", dependencies: [.byName(name: room)] + dependencies,
        resources: resources, swiftSettings: settings)
}

let package = Package(
    name: "elemta",
    products: [.executable(name: "elemta", targets: ["elemta"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
        .package(url: "https://github.com/LebJe/TOMLKit", exact: "0.6.0"),
    ],
    targets: [
        library("CCrypt", pkgConfig: "libcrypt", package: "libcrypt-dev"),
        library("CLDAP", pkgConfig: "ldap", package: "libldap-dev"),
        library("CLibevent", pkgConfig: "libevent", package: "libevent-dev"),
        library("CLibyaml", pkgConfig: "yaml-0.1", package: "libyaml-dev"),
        library("CLMDB", pkgConfig: "lmdb", package: "liblmdb-dev"),
        library("COpenSSL", pkgConfig: "openssl", package: "libssl-dev"),
        library("CUnbound", pkgConfig: "libunbound", package: "libunbound-dev"),

        room("ElemtaThreads", []),
        room("ElemtaSMTP", []),
        room("ElemtaReactor", ["CLibevent", "COpenSSL"]),
        room(
            "ElemtaQueue",
            [
                "CLMDB", "ElemtaSMTP", "ElemtaThreads",
                .product(name: "HeapModule", package: "swift-collections"),
                .product(name: "DequeModule", package: "swift-collections"),
            ]),
        room(
            "ElemtaDelivery",
            [
                "CUnbound", "ElemtaQueue", "ElemtaReactor", "ElemtaSMTP", "ElemtaThreads",
                .product(name: "DequeModule", package: "swift-collections"),
            ]),
        room(
            "ElemtaConfiguration",
            ["CLibyaml", "ElemtaSMTP", .product(name: "TOMLKit", package: "TOMLKit")]),
        room(
            "ElemtaAuthentication",
            ["CCrypt", "CLDAP", "COpenSSL", "ElemtaSMTP", "ElemtaThreads"]),
        .executableTarget(
            name: "elemta",
            dependencies: [
                "ElemtaAuthentication", "ElemtaConfiguration", "ElemtaDelivery", "ElemtaQueue",
                "ElemtaReactor", "ElemtaSMTP", "ElemtaThreads",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),

        tests(of: "ElemtaThreads"),
        tests(of: "ElemtaSMTP"),
        tests(of: "ElemtaReactor", ["COpenSSL", "ElemtaThreads"]),
        // Killed by the tests of the queue, and measures it.
        .executableTarget(
            name: "spool-load", dependencies: ["ElemtaQueue", "ElemtaSMTP", "ElemtaThreads"],
            path: "Tests/SpoolLoad", swiftSettings: settings),
        tests(
            of: "ElemtaQueue",
            [
                "ElemtaSMTP", "ElemtaThreads", "spool-load",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HeapModule", package: "swift-collections"),
            ]),
        tests(
            of: "ElemtaDelivery",
            ["ElemtaQueue", "ElemtaReactor", "ElemtaSMTP", "ElemtaThreads"]),
        tests(of: "ElemtaConfiguration"),
        tests(of: "ElemtaAuthentication", ["ElemtaSMTP", "ElemtaThreads"]),
        tests(
            of: "elemta",
            [
                "ElemtaConfiguration", "ElemtaQueue", "ElemtaSMTP",
                .product(name: "Logging", package: "swift-log"),
            ]),
    ]
)
