// score MODEL CLIP.wav: prints a 16-bit WAV's frame scores and the clip's.
#include <aesa.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "wav.h"

static void print(const float *s) {
    std::printf(" %.7f %.7f %.7f %.7f", s[AESA_AXIS_PQ], s[AESA_AXIS_PC], s[AESA_AXIS_CE], s[AESA_AXIS_CU]);
}

static void print_frames(aesa::Scorer &scorer) {
    while (auto frame = scorer.next_frame()) {
        std::printf("%.2f", frame->start_s);
        print(frame->scores);
        std::printf("%s\n", frame->flags & AESA_FRAME_FLAG_LOST ? " lost" : "");
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: score MODEL CLIP.wav\n");
        return 2;
    }
    wav wav;
    if (!wav_read(argv[2], &wav)) {
        std::fprintf(stderr, "score: %s is no 16-bit WAV\n", argv[2]);
        return 1;
    }
    std::unique_ptr<int16_t, decltype(&std::free)> samples(wav.samples, &std::free);
    try {
        AesaAudio audio{};
        audio.sample_rate_hz = wav.sample_rate_hz;
        audio.num_channels = wav.num_channels;
        aesa::Model model(argv[1]);
        aesa::Scorer scorer(model, audio);
        const std::size_t chunk = std::size_t{1000} * wav.num_channels; // as a sound card would give them
        for (std::size_t at = 0; at < wav.num_values; at += chunk) {
            scorer.accept(wav.samples + at, std::min(chunk, wav.num_values - at));
            print_frames(scorer);
        }
        AesaClip clip = scorer.finish();
        print_frames(scorer);
        std::printf("clip");
        print(clip.scores);
        std::printf("\n");
    } catch (const aesa::Error &error) {
        std::fprintf(stderr, "score: %s\n", error.what());
        return 1;
    }
    return 0;
}
