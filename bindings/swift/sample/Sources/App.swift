import Aesa
import AVFoundation
import SwiftUI

/// Has the system's voice say a sentence into memory, and shows the scores as it is heard.
@main
struct SpeakAndScoreApp: App {
    @StateObject private var speaker = Speaker()
    @State private var text = "How do I sound? I should like to know."

    var body: some Scene {
        WindowGroup {
            VStack(alignment: .leading, spacing: 16) {
                TextField("Text", text: $text, axis: .vertical)
                Button("Speak and score") { speaker.score(text) }
                ForEach(speaker.scores, id: \.axis) { score in
                    ProgressView(value: Double(score.value), total: 10) {
                        Text("\(score.axis) \(score.value, specifier: "%.2f")")
                    }
                }
                Text(speaker.message)
            }
            .padding()
        }
    }
}

final class Speaker: ObservableObject {
    @Published private(set) var scores: [(axis: String, value: Float)] = []
    @Published private(set) var message = ""

    private let synthesizer = AVSpeechSynthesizer()
    private let model = Result { try Model.starter() }
    private var scorer: AesaScorer?

    func score(_ text: String) {
        scorer = nil
        message = ""
        synthesizer.write(AVSpeechUtterance(string: text)) { [weak self] buffer in
            guard let self, let buffer = buffer as? AVAudioPCMBuffer else { return }
            do {
                try self.take(buffer)
            } catch {
                self.show(nil, "\(error)")
            }
        }
    }

    /// The voice's rate shows with its first buffer; an empty one ends the speech.
    private func take(_ buffer: AVAudioPCMBuffer) throws {
        guard buffer.frameLength > 0 else {
            guard let scorer else { return }
            self.scorer = nil
            let clip = try scorer.finish()
            show(clip.scores, "\(clip.numFrames) frames of 160 ms")
            return
        }
        let scorer = try self.scorer ?? AesaScorer(
            model.get(), sampleRateHz: Int(buffer.format.sampleRate), numChannels: Int(buffer.format.channelCount))
        self.scorer = scorer
        try scorer.accept(buffer)
        if let frame = try scorer.nextFrames().last {
            show(frame.scores, "at \(frame.startS) s")
        }
    }

    private func show(_ scores: Scores?, _ message: String) {
        DispatchQueue.main.async {
            if let scores {
                self.scores = [("PQ", scores.pq), ("PC", scores.pc), ("CE", scores.ce), ("CU", scores.cu)]
            }
            self.message = message
        }
    }
}
