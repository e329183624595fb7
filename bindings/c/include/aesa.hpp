// aesa for C++17: handles that free themselves, errors as exceptions. A thin cover of aesa.h; bindings/c/README.md.
#ifndef AESA_HPP
#define AESA_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "aesa.h"

namespace aesa {

// What a call that failed says, and its code.
class Error : public std::runtime_error {
public:
    explicit Error(AesaStatus status) : std::runtime_error(aesa_last_error()), status_(status) {}
    AesaStatus status() const noexcept { return status_; }

private:
    AesaStatus status_;
};

// Whether there is something; throws Error for a code that says what went wrong.
inline bool has_value(AesaStatus status) {
    if (status < 0) throw Error(status);
    return status == AESA_STATUS_OK;
}

// A loaded model; any number of scorers, in any threads.
class Model {
public:
    explicit Model(const std::string &path) : Model() {
        AesaModel *handle = nullptr;
        has_value(aesa_model_load(path.c_str(), &handle));
        handle_.reset(handle);
    }

    static Model from_bytes(const std::uint8_t *bytes, std::size_t num_bytes) {
        Model model;
        AesaModel *handle = nullptr;
        has_value(aesa_model_from_bytes(bytes, num_bytes, &handle));
        model.handle_.reset(handle);
        return model;
    }

    static Model starter() {
        Model model;
        AesaModel *handle = nullptr;
        has_value(aesa_model_starter(&handle));
        model.handle_.reset(handle);
        return model;
    }

    AesaModelInfo info() const {
        AesaModelInfo info;
        has_value(aesa_model_info(get(), &info));
        return info;
    }

    const AesaModel *get() const noexcept { return handle_.get(); }

private:
    struct Free {
        void operator()(AesaModel *model) const noexcept { aesa_model_free(model); }
    };

    Model() = default;

    std::unique_ptr<AesaModel, Free> handle_;
};

// Scores one clip or stream at a time; one thread at a time.
class Scorer {
public:
    Scorer(const Model &model, const AesaAudio &audio) {
        AesaScorer *handle = nullptr;
        has_value(aesa_scorer_new(model.get(), &audio, &handle));
        handle_.reset(handle);
    }

    void accept(const float *interleaved, std::size_t num_values) {
        has_value(aesa_scorer_accept_f32(handle_.get(), interleaved, num_values));
    }

    void accept(const std::int16_t *interleaved, std::size_t num_values) {
        has_value(aesa_scorer_accept_i16(handle_.get(), interleaved, num_values));
    }

    void gap(std::uint64_t num_samples) { has_value(aesa_scorer_gap(handle_.get(), num_samples)); }

    std::optional<AesaFrame> next_frame() {
        AesaFrame frame;
        return has_value(aesa_scorer_next_frame(handle_.get(), &frame)) ? std::optional(frame) : std::nullopt;
    }

    std::optional<AesaClip> clip_so_far() const {
        AesaClip clip;
        return has_value(aesa_scorer_clip_so_far(handle_.get(), &clip)) ? std::optional(clip) : std::nullopt;
    }

    AesaClip finish() {
        AesaClip clip;
        has_value(aesa_scorer_finish(handle_.get(), &clip));
        return clip;
    }

    void reset() { has_value(aesa_scorer_reset(handle_.get())); }

    std::uint64_t latency_samples() const {
        std::uint64_t num_samples;
        has_value(aesa_scorer_latency_samples(handle_.get(), &num_samples));
        return num_samples;
    }

private:
    struct Free {
        void operator()(AesaScorer *scorer) const noexcept { aesa_scorer_free(scorer); }
    };

    std::unique_ptr<AesaScorer, Free> handle_;
};

} // namespace aesa

#endif
