import Aesa
import Foundation
import XCTest

/// The project's folder.
let root = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../../..").standardizedFileURL

/// One model for all tests.
let starter = try! Model.starter()

/// What tests/conformance/expected.json holds.
struct Expected: Decodable {
    let clips: [ExpectedClip]
}

let expected: Expected = {
    let file = root.appendingPathComponent("tests/conformance/expected.json")
    return try! JSONDecoder().decode(Expected.self, from: Data(contentsOf: file))
}()

struct ExpectedClip: Decodable, Sendable {
    // The file's own names.
    let file: String
    let sample_rate_hz: Int
    let num_channels: Int
    let num_steps: Int
    let tolerance: Float
    let clip: [Float]
    let frames: [[Float]]

    /// The samples of the WAV, interleaved.
    func samples() throws -> [Int16] {
        let wav = [UInt8](try Data(contentsOf: root.appendingPathComponent("tests/conformance/clips/\(file)")))
        func number(at start: Int) -> Int { (0..<4).reduce(0) { $0 | Int(wav[start + $1]) << (8 * $1) } }
        var start = 12
        while wav[start..<start + 4] != [UInt8]("data".utf8)[...] { start += 8 + number(at: start + 4) }
        let data = start + 8..<start + 8 + number(at: start + 4)
        return stride(from: data.lowerBound, to: data.upperBound, by: 2).map {
            Int16(bitPattern: UInt16(wav[$0]) | UInt16(wav[$0 + 1]) << 8)
        }
    }

    func scorer() throws -> AesaScorer {
        try AesaScorer(starter, sampleRateHz: sample_rate_hz, numChannels: num_channels)
    }

    func check(_ frames: [Frame], _ scored: Clip) {
        XCTAssertEqual(frames.count, num_steps, file)
        XCTAssertEqual(Int(scored.numFrames), num_steps, file)
        for (index, (frame, expected)) in zip(frames, self.frames).enumerated() {
            XCTAssertEqual(frame.startS, 0.16 * Double(index), accuracy: 1e-9)
            XCTAssert(!frame.hasGap && !frame.isLost)
            check(frame.scores, expected, "\(file), frame \(index)")
        }
        check(scored.scores, clip, file)
    }

    private func check(_ scores: Scores, _ expected: [Float], _ what: String) {
        for (actual, expected) in zip([scores.pq, scores.pc, scores.ce, scores.cu], expected) {
            XCTAssertEqual(actual, expected, accuracy: tolerance, what)
        }
    }
}

extension AesaScorer {
    /// Scores a clip, handed over in pieces of 1000 values.
    func scoreInPieces(_ samples: [Int16]) throws -> ([Frame], Clip) {
        var frames: [Frame] = []
        for start in stride(from: 0, to: samples.count, by: 1000) {
            try accept(Array(samples[start..<min(start + 1000, samples.count)]))
            frames += try nextFrames()
        }
        let clip = try finish()
        return (try frames + nextFrames(), clip)
    }
}
