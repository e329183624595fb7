// swift-tools-version: 5.9
import PackageDescription

// On a Mac: ../build.sh, then `swift run`. For iOS: an app project in Xcode with Sources/App.swift and the package `..`.
let package = Package(
    name: "SpeakAndScore",
    platforms: [.iOS(.v16), .macOS(.v13)],
    dependencies: [.package(name: "Aesa", path: "..")],
    targets: [.executableTarget(name: "SpeakAndScore", dependencies: ["Aesa"], path: "Sources")]
)
