// checks MODEL CLIP.wav: every call of aesa.hpp, on one model and one mono clip. Prints a line per check that fails and, at the end, how
// many passed and failed.
#include <aesa.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../examples/wav.h"
#include "check.h"

// Whether `work` throws an Error of this code, with words.
template <typename Work> static bool throws(AesaStatus code, Work work) {
    try {
        work();
    } catch (const aesa::Error &error) {
        return error.status() == code && error.what()[0] != '\0';
    }
    return false;
}

// A mono clip.
struct Audio {
    std::vector<std::int16_t> samples;
    AesaAudio layout{};
};

struct Scored {
    std::vector<AesaFrame> frames;
    AesaClip clip{};

    // To the last bit.
    bool operator==(const Scored &other) const {
        return frames.size() == other.frames.size() && !std::memcmp(&clip, &other.clip, sizeof clip) &&
               !std::memcmp(frames.data(), other.frames.data(), frames.size() * sizeof(AesaFrame));
    }
};

static void take_frames(aesa::Scorer &scorer, Scored &scored) {
    while (auto frame = scorer.next_frame()) scored.frames.push_back(*frame);
}

template <typename Sample> static Scored score(aesa::Scorer &scorer, const std::vector<Sample> &samples, std::size_t chunk) {
    Scored scored;
    for (std::size_t at = 0; at < samples.size(); at += chunk) {
        scorer.accept(samples.data() + at, std::min(chunk, samples.size() - at));
        take_frames(scorer, scored);
    }
    scored.clip = scorer.finish();
    take_frames(scorer, scored);
    return scored;
}

static void check_formats(const aesa::Model &model, const Audio &audio, const Scored &expected) {
    std::vector<float> floats(audio.samples.size());
    std::transform(audio.samples.begin(), audio.samples.end(), floats.begin(), [](std::int16_t s) { return s / 32768.0f; });
    aesa::Scorer scorer(model, audio.layout);
    CHECK(score(scorer, floats, 777) == expected);
    scorer.reset();
    CHECK(score(scorer, audio.samples, audio.samples.size()) == expected);
}

static void check_info(const aesa::Model &model) {
    const AesaModelInfo info = model.info();
    CHECK(info.id[0] && info.version[0] && info.max_steps > 0);
    CHECK(!std::strcmp(info.policy, "windowed") || !std::strcmp(info.policy, "chunked"));
}

static void check_bytes(const std::string &path, const Audio &audio, const Scored &expected) {
    std::ifstream file(path, std::ios::binary);
    std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    aesa::Model model = aesa::Model::from_bytes(bytes.data(), bytes.size());
    bytes[bytes.size() / 2] ^= 0x40;
    CHECK(throws(AESA_STATUS_MODEL, [&] { aesa::Model::from_bytes(bytes.data(), bytes.size()); }));
    CHECK(throws(AESA_STATUS_MODEL, [&] { aesa::Model::from_bytes(bytes.data(), bytes.size() / 2); }));
    CHECK(throws(AESA_STATUS_MODEL, [&] { aesa::Model::from_bytes(bytes.data(), 0); }));
    aesa::Scorer scorer(model, audio.layout);
    CHECK(score(scorer, audio.samples, 4000) == expected);
}

static void check_bad_models(const char *audio_path) {
    CHECK(throws(AESA_STATUS_READ, [] { aesa::Model model("no/such/file"); }));
    CHECK(throws(AESA_STATUS_MODEL, [=] { aesa::Model model(audio_path); }));
}

// Only libraries that have the model inside give it.
static void check_starter() {
    try {
        CHECK(!std::strcmp(aesa::Model::starter().info().id, "starter"));
    } catch (const aesa::Error &error) {
        CHECK(error.status() == AESA_STATUS_UNSUPPORTED);
    }
}

static void check_latency(const aesa::Model &model, const Audio &audio) {
    aesa::Scorer scorer(model, audio.layout);
    const std::uint64_t latency_samples = scorer.latency_samples();
    const std::uint64_t step_samples = audio.layout.sample_rate_hz * 16 / 100;
    CHECK(latency_samples >= step_samples && latency_samples < step_samples * (model.info().max_steps + 2));
    CHECK(!scorer.clip_so_far() && !scorer.next_frame());
    const std::size_t count = std::min<std::uint64_t>(latency_samples + 1, audio.samples.size());
    scorer.accept(audio.samples.data(), count);
    CHECK(scorer.clip_so_far().has_value() == (count > latency_samples));
    CHECK(scorer.next_frame().has_value() == (count > latency_samples));
    const AesaClip clip = scorer.finish();
    const auto so_far = scorer.clip_so_far();
    CHECK(so_far && !std::memcmp(&*so_far, &clip, sizeof clip));
}

static void check_gaps(const aesa::Model &model, const Audio &audio, const Scored &expected) {
    aesa::Scorer scorer(model, audio.layout);
    scorer.accept(audio.samples.data(), audio.samples.size());
    scorer.gap(audio.layout.sample_rate_hz);
    Scored scored;
    scored.clip = scorer.finish();
    take_frames(scorer, scored);
    const auto num_lost = static_cast<std::uint64_t>(std::count_if(
        scored.frames.begin(), scored.frames.end(), [](const AesaFrame &frame) { return frame.flags & AESA_FRAME_FLAG_LOST; }));
    // A second is 6.25 steps.
    CHECK(scored.frames.size() >= expected.frames.size() + 6 && num_lost >= 6 && num_lost <= 8);
    CHECK(scored.clip.num_frames == scored.frames.size() - num_lost);
    scorer.reset();
    scorer.gap(3 * static_cast<std::uint64_t>(audio.layout.sample_rate_hz));
    CHECK(throws(AESA_STATUS_ALL_LOST, [&] { scorer.finish(); }));
}

static void check_bad_audio(const aesa::Model &model, const Audio &audio, const Scored &expected) {
    AesaAudio silent = audio.layout, stereo = audio.layout;
    silent.sample_rate_hz = 0;
    stereo.num_channels = 2;
    CHECK(throws(AESA_STATUS_INVALID_ARGUMENT, [&] { aesa::Scorer scorer(model, silent); }));
    CHECK(throws(AESA_STATUS_AUDIO, [&] { aesa::Scorer(model, stereo).accept(audio.samples.data(), 3); }));
    aesa::Scorer scorer(model, audio.layout);
    const float values[] = {0, NAN, INFINITY, 0};
    CHECK(throws(AESA_STATUS_AUDIO, [&] { scorer.accept(values, 4); }));
    CHECK(throws(AESA_STATUS_INVALID_ARGUMENT, [&] { scorer.gap(UINT64_MAX); }));
    // Nothing of all that was taken.
    CHECK(score(scorer, audio.samples, 3000) == expected);
    CHECK(throws(AESA_STATUS_FINISHED, [&] { scorer.finish(); }));
    CHECK(throws(AESA_STATUS_FINISHED, [&] { scorer.accept(audio.samples.data(), 10); }));
    scorer.reset();
    CHECK(throws(AESA_STATUS_TOO_SHORT, [&] { scorer.finish(); }));
}

// Two scorers of one model, which goes before they do; moved into their threads.
static void check_threads(const std::string &path, const Audio &audio, const Scored &expected) {
    auto model = std::make_unique<aesa::Model>(path);
    bool is_same[2] = {false, false};
    std::thread threads[2];
    for (int i = 0; i < 2; i++) {
        threads[i] = std::thread([&, i, scorer = aesa::Scorer(*model, audio.layout)]() mutable {
            is_same[i] = score(scorer, audio.samples, 1000 + static_cast<std::size_t>(i)) == expected;
            is_same[i] &= throws(AESA_STATUS_FINISHED, [&] { scorer.finish(); });
        });
    }
    model.reset();
    for (auto &thread : threads) thread.join();
    CHECK(is_same[0] && is_same[1]);
}

int main(int argc, char **argv) {
    wav wav;
    if (argc != 3 || !wav_read(argv[2], &wav) || wav.num_channels != 1) {
        std::fprintf(stderr, "usage: checks MODEL MONO.wav\n");
        return 2;
    }
    Audio audio;
    audio.samples.assign(wav.samples, wav.samples + wav.num_values);
    audio.layout.sample_rate_hz = wav.sample_rate_hz;
    audio.layout.num_channels = 1;
    std::free(wav.samples);
    try {
        const aesa::Model model(argv[1]);
        aesa::Scorer scorer(model, audio.layout);
        const Scored expected = score(scorer, audio.samples, 1000);
        CHECK(expected.frames.size() > 20 && expected.clip.num_frames == expected.frames.size());
        check_formats(model, audio, expected);
        check_info(model);
        check_bytes(argv[1], audio, expected);
        check_bad_models(argv[2]);
        check_starter();
        check_latency(model, audio);
        check_gaps(model, audio, expected);
        check_bad_audio(model, audio, expected);
        check_threads(argv[1], audio, expected);
    } catch (const aesa::Error &error) {
        std::printf("FAILED: %s\n", error.what());
        num_failed++;
    }
    std::printf("%d passed, %d failed\n", num_passed, num_failed);
    return num_failed != 0;
}
