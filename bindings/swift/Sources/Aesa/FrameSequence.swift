/// The frames of a stream of chunks, as they become ready. Each iteration is a clip of its own: it begins with
/// `AesaScorer.reset`, and the end of the chunks finishes the clip, whose scores `AesaScorer.clipSoFar` has then.
///
/// The scoring runs in the task that iterates. Errors of the scorer and of the chunks end the iteration.
public struct FrameSequence<Chunks: AsyncSequence>: AsyncSequence {
    public typealias Element = Frame

    let scorer: AesaScorer
    let chunks: Chunks
    let accept: (AesaScorer, Chunks.Element) throws -> Void

    public func makeAsyncIterator() -> Iterator {
        Iterator(scorer: scorer, chunks: chunks.makeAsyncIterator(), accept: accept)
    }

    public struct Iterator: AsyncIteratorProtocol {
        private enum Stage { case fresh, streaming, finished }

        private let scorer: AesaScorer
        private var chunks: Chunks.AsyncIterator
        private let accept: (AesaScorer, Chunks.Element) throws -> Void
        private var stage = Stage.fresh
        private var ready: ArraySlice<Frame> = []

        init(scorer: AesaScorer, chunks: Chunks.AsyncIterator, accept: @escaping (AesaScorer, Chunks.Element) throws -> Void) {
            self.scorer = scorer
            self.chunks = chunks
            self.accept = accept
        }

        public mutating func next() async throws -> Frame? {
            if stage == .fresh {
                try scorer.reset()
                stage = .streaming
            }
            while ready.isEmpty && stage == .streaming {
                if let chunk = try await chunks.next() {
                    try accept(scorer, chunk)
                } else {
                    stage = .finished
                    _ = try scorer.finish()
                }
                ready = try scorer.nextFrames()[...]
            }
            return ready.popFirst()
        }
    }
}

extension AesaScorer {
    /// The frames of a stream of 16-bit chunks.
    public func frames<Chunks: AsyncSequence>(of chunks: Chunks) -> FrameSequence<Chunks> where Chunks.Element == [Int16] {
        FrameSequence(scorer: self, chunks: chunks) { try $0.accept($1) }
    }

    /// The frames of a stream of float chunks, full scale 1.
    public func frames<Chunks: AsyncSequence>(of chunks: Chunks) -> FrameSequence<Chunks> where Chunks.Element == [Float] {
        FrameSequence(scorer: self, chunks: chunks) { try $0.accept($1) }
    }
}
