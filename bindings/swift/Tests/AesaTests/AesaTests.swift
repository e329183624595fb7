import Aesa
import Foundation
import XCTest

final class AesaTests: XCTestCase {
    func testConformanceInWholeClipsAndPieces() throws {
        XCTAssertGreaterThanOrEqual(expected.clips.count, 4)
        for clip in expected.clips {
            let samples = try clip.samples()
            let scorer = try clip.scorer()
            try scorer.accept(samples)
            let whole = try scorer.finish()
            clip.check(try scorer.nextFrames(), whole)
            try scorer.reset()
            let (frames, pieces) = try scorer.scoreInPieces(samples)
            clip.check(frames, pieces)
            XCTAssertEqual(whole, pieces)
        }
    }

    func testFloatsGiveTheSameScores() throws {
        let clip = expected.clips[0]
        let scorer = try clip.scorer()
        try scorer.accept(clip.samples().map { Float($0) / 32_768 })
        let scored = try scorer.finish()
        clip.check(try scorer.nextFrames(), scored)
    }

    func testModelsFromAFileAndFromBytes() throws {
        let file = root.appendingPathComponent("models/starter/model.aesa")
        let clip = expected.clips[0]
        for model in [try Model.open(path: file.path), try Model.fromBytes(bytes: try Data(contentsOf: file))] {
            XCTAssertEqual(model.info(), starter.info())
            let scorer = try AesaScorer(model, sampleRateHz: clip.sample_rate_hz, numChannels: clip.num_channels)
            let (frames, scored) = try scorer.scoreInPieces(try clip.samples())
            clip.check(frames, scored)
        }
        XCTAssertEqual(starter.info().id, "starter")
        XCTAssertEqual(starter.info().engine, "native")
    }

    func testFilesThatAreNoModels() throws {
        expect({ if case .Read(let message) = $0 { message.contains("/no/such") } else { false } }) {
            _ = try Model.open(path: "/no/such/model.aesa")
        }
        expect({ if case .Model = $0 { true } else { false } }) {
            _ = try Model.open(path: root.appendingPathComponent("README.md").path)
        }
        let bytes = try Data(contentsOf: root.appendingPathComponent("models/starter/model.aesa"))
        for size in [0, 1, 64, bytes.count / 2, bytes.count - 1] {
            expect({ if case .Model = $0 { true } else { false } }) { _ = try Model.fromBytes(bytes: bytes.prefix(size)) }
        }
    }

    func testBadAudioIsToldAndNotTaken() throws {
        let clip = expected.clips.first { $0.num_channels == 2 }!
        let samples = try clip.samples()
        let scorer = try clip.scorer()
        try scorer.accept(Array(samples[..<20_000]))
        for value in [Float.nan, .infinity, -.infinity] {
            expect({ if case .Audio = $0 { true } else { false } }) { try scorer.accept([0, 0, value, 0]) }
        }
        expect({ if case .Audio = $0 { true } else { false } }) { try scorer.accept([Int16](repeating: 0, count: 3)) }
        try scorer.accept([Int16]())
        try scorer.accept(Array(samples[20_000...]))
        let scored = try scorer.finish()
        clip.check(try scorer.nextFrames(), scored)
    }

    func testTheEndOfAClip() throws {
        let scorer = try AesaScorer(starter)
        XCTAssertNil(try scorer.clipSoFar())
        expect({ if case .TooShort = $0 { true } else { false } }) { _ = try scorer.finish() }
        try scorer.reset()
        try scorer.gap(numSamples: 32_000)
        expect({ if case .AllLost = $0 { true } else { false } }) { _ = try scorer.finish() }
        try scorer.reset()
        try scorer.accept([Int16](repeating: 0, count: 16_000))
        _ = try scorer.finish()
        expect({ if case .Finished = $0 { true } else { false } }) { _ = try scorer.finish() }
        expect({ if case .Finished = $0 { true } else { false } }) { try scorer.accept([Int16](repeating: 0, count: 16)) }
    }

    func testArgumentsThatCannotBe() throws {
        for (rate, channels) in [(0, 1), (-16_000, 1), (1000, 1), (Int.max, 1), (16_000, 0), (16_000, -1), (16_000, Int.min)] {
            expect({ if case .InvalidArgument = $0 { true } else { false } }) {
                _ = try AesaScorer(starter, sampleRateHz: rate, numChannels: channels)
            }
        }
        expect({ if case .InvalidArgument = $0 { true } else { false } }) {
            _ = try AesaScorer(starter, sampleRateHz: 16_000, numChannels: 1, hopSteps: 1000, lookAheadSteps: 0)
        }
        let scorer = try AesaScorer(starter)
        expect({ if case .InvalidArgument = $0 { true } else { false } }) { try scorer.gap(numSamples: -1) }
        XCTAssertEqual(try scorer.latencySeconds(), starter.info().windowS, accuracy: 0.2)
    }

    func testTwoScorersInTwoThreads() throws {
        let clip = expected.clips[0]
        let samples = try clip.samples()
        DispatchQueue.concurrentPerform(iterations: 8) { _ in
            do {
                let (frames, scored) = try clip.scorer().scoreInPieces(samples)
                clip.check(frames, scored)
            } catch {
                XCTFail("\(error)")
            }
        }
    }

    func testOneScorerInTwoThreadsTakesTurns() throws {
        let scorer = try AesaScorer(starter)
        DispatchQueue.concurrentPerform(iterations: 2) { _ in
            do {
                for _ in 0..<100 { try scorer.accept([Int16](repeating: 0, count: 1600)) }
            } catch {
                XCTFail("\(error)")
            }
        }
        XCTAssertEqual(try scorer.finish().numFrames, 124)
    }

    func testASequenceIsScoredAsAClip() async throws {
        let clip = expected.clips[0]
        let samples = try clip.samples()
        let scorer = try clip.scorer()
        let chunks = AsyncStream<[Int16]> { stream in
            for start in stride(from: 0, to: samples.count, by: 1000) {
                stream.yield(Array(samples[start..<min(start + 1000, samples.count)]))
            }
            stream.finish()
        }
        var frames: [Frame] = []
        for try await frame in scorer.frames(of: chunks) { frames.append(frame) }
        clip.check(frames, try XCTUnwrap(try scorer.clipSoFar()))
    }

    func testErrorsEndTheSequence() async throws {
        let scorer = try AesaScorer(starter)
        let chunks = AsyncStream<[Float]> { stream in
            stream.yield([.nan])
            stream.finish()
        }
        do {
            for try await _ in scorer.frames(of: chunks) {}
            XCTFail("no error")
        } catch let error as AesaError {
            guard case .Audio = error else { return XCTFail("\(error)") }
        }
    }
}

/// Whether `work` throws the kind of error that is meant, with a message.
private func expect(_ isKind: (AesaError) -> Bool, line: UInt = #line, _ work: () throws -> Void) {
    XCTAssertThrowsError(try work(), line: line) { error in
        guard let error = error as? AesaError else { return XCTFail("\(error)", line: line) }
        XCTAssert(isKind(error), "\(error)", line: line)
    }
}
