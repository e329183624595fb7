// swift-tools-version: 5.9
import PackageDescription

// build.sh makes what is not here: Sources/Aesa/Generated, and the library.
#if os(Linux)
// The header only: `-Xlinker -L` and `-rpath` say where libaesa_uniffi.so lies.
let library: Target = .systemLibrary(name: "AesaFFI")
#else
let library: Target = .binaryTarget(name: "AesaFFI", path: "AesaFFI.xcframework")
#endif

let package = Package(
    name: "Aesa",
    platforms: [.iOS(.v13), .macOS(.v10_15)],
    products: [.library(name: "Aesa", targets: ["Aesa"])],
    targets: [
        library,
        .target(name: "Aesa", dependencies: ["AesaFFI"]),
        .testTarget(name: "AesaTests", dependencies: ["Aesa"]),
    ]
)
