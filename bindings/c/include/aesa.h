/* aesa: perceptual audio scores on the device. bindings/c/README.md has a quick start.
 *
 * Written by cbindgen from bindings/c/src; `AESA_WRITE_HEADER=1 cargo test --release -p aesa-c --test header` writes it anew.
 *
 * Every function may be called with null pointers, wrong sizes and in any order, and answers with a code; what it does not
 * notice is a pointer to something else than it says, or a handle that has been freed. Handles may move between threads.
 * A scorer serves one call at a time (another is AESA_STATUS_BUSY); a model serves any number. Nothing is printed, but for
 * Rust's note on standard error when a bug in aesa (AESA_STATUS_INTERNAL) was caught. */


#ifndef AESA_H
#define AESA_H

#include <stddef.h>
#include <stdint.h>

// What a function answers. Errors are negative; numbers keep their meaning in later versions, which may have more of them.
enum AesaStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Done.
    AESA_STATUS_OK = 0,
    // No error, but nothing to give yet: no frame is ready, or no score so far.
    AESA_STATUS_NONE = 1,
    // A pointer is null that may not be.
    AESA_STATUS_NULL_ARGUMENT = -1,
    // A size, rate, number of channels, policy, path or alignment that cannot be.
    AESA_STATUS_INVALID_ARGUMENT = -2,
    // The file cannot be read.
    AESA_STATUS_READ = -3,
    // The bytes are no model, or a damaged one, or one that this library cannot run.
    AESA_STATUS_MODEL = -4,
    // The library was built without what was asked for.
    AESA_STATUS_UNSUPPORTED = -5,
    // Half a sample, or values that are not finite. Nothing of the chunk was taken; the clip can go on.
    AESA_STATUS_AUDIO = -6,
    // The clip ended before its first 175 ms were complete.
    AESA_STATUS_TOO_SHORT = -7,
    // Audio was lost in every step of the clip.
    AESA_STATUS_ALL_LOST = -8,
    // The clip has ended, by finish or by an error; reset begins another.
    AESA_STATUS_FINISHED = -9,
    // The network failed; the clip has ended.
    AESA_STATUS_NETWORK = -10,
    // The scorer is in a call on another thread.
    AESA_STATUS_BUSY = -11,
    // A bug in aesa, caught. The handle answers so from then on: free it.
    AESA_STATUS_INTERNAL = -12,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum AesaStatus AesaStatus;
#else
typedef int32_t AesaStatus;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which of the scores is which.
typedef enum {
    // Production Quality: technical fidelity of the recording.
    AESA_AXIS_PQ = 0,
    // Production Complexity: how many things sound at once.
    AESA_AXIS_PC = 1,
    // Content Enjoyment: how enjoyable the content is.
    AESA_AXIS_CE = 2,
    // Content Usefulness: how useful it is as material for other content.
    AESA_AXIS_CU = 3,
} AesaAxis;

// Bits of a frame's flags.
typedef enum {
    // Lost audio lies in what the network saw for this frame.
    AESA_FRAME_FLAG_GAP = 1,
    // The frame itself touches lost audio: its scores are no part of the clip's.
    AESA_FRAME_FLAG_LOST = 2,
} AesaFrameFlag;

// A loaded model. Any number of scorers may use it, in any threads; they keep what they need when the handle is freed.
typedef struct AesaModel AesaModel;

// Scores one clip or stream at a time.
typedef struct AesaScorer AesaScorer;

// What a model says of itself. The texts live as long as the model's handle.
typedef struct {
    // Short name, such as `starter`.
    const char *id;
    // Version of the weights.
    const char *version;
    // What it learned from: `human` ratings, or `proxy` (computed stand-ins: compare, do not quote).
    const char *labels;
    // What runs it: `native` or `tract`.
    const char *runtime;
    // How it hears a clip: `windowed` or `chunked`.
    const char *policy;
    // Steps of 160 ms in a window or chunk.
    uint32_t max_steps;
} AesaModelInfo;

// How the audio is laid out, and how soon scores are wanted. What is not set has to be 0.
typedef struct {
    // Samples per second and channel: 4000 and up.
    uint32_t sample_rate_hz;
    // Interleaved channels, at least 1; they are averaged.
    uint32_t num_channels;
    // Steps of 160 ms from one window to the next; 0 for windows (or chunks) one after another.
    uint32_t hop_steps;
    // Steps of 160 ms that a window hears after a step before it gives its score; only with a hop.
    uint32_t look_ahead_steps;
    // For later versions: 0.
    uint32_t reserved[4];
} AesaAudio;

// The scores of one step of 160 ms.
typedef struct {
    // When it begins, in seconds from the start of the clip.
    double start_s;
    // How long it is, in seconds: 0.16.
    double duration_s;
    // 0 to 10, in the order of AesaAxis.
    float scores[4];
    // Bits of AesaFrameFlag.
    uint32_t flags;
    // 0.
    uint32_t reserved;
} AesaFrame;

// The scores of a clip: the mean of its frames', but for lost ones.
typedef struct {
    // How many frames they are the mean of.
    uint64_t num_frames;
    // 0 to 10, in the order of AesaAxis.
    float scores[4];
} AesaClip;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The library's version, as in `0.1.0`. Lives as long as the program.
const char *aesa_version(void);

// A code in a few English words; any number may be asked for. Lives as long as the program.
const char *aesa_status_text(int32_t status);

// Loads a `model.aesa` or (where tract is built in) a `model.onnx`; which it is shows in its contents. The file is read
// once. `path` is UTF-8. `*model` is the new handle, or null after an error: AESA_STATUS_READ, AESA_STATUS_MODEL, or an
// argument's.
AesaStatus aesa_model_load(const char *path,
                           AesaModel **model);

// aesa_model_load for a file's bytes, which are copied.
AesaStatus aesa_model_from_bytes(const uint8_t *bytes, size_t num_bytes, AesaModel **model);

// The starter model inside the library; AESA_STATUS_UNSUPPORTED where it was built without.
AesaStatus aesa_model_starter(AesaModel **model);

// What a model says of itself, for `*info`.
AesaStatus aesa_model_info(const AesaModel *model, AesaModelInfo *info);

// Frees a model; null is nothing to do. Its scorers go on. No call may use the handle now or later, which cannot be
// noticed.
void aesa_model_free(AesaModel *model);

// A scorer at the start of a clip. `*scorer` is the new handle, or null after an error: AESA_STATUS_INVALID_ARGUMENT for a
// rate, number of channels or policy that cannot be (a hop is for windowed models only), or a pointer's.
AesaStatus aesa_scorer_new(const AesaModel *model,
                           const AesaAudio *audio,
                           AesaScorer **scorer);

// Takes the next chunk of interleaved samples, full scale 1. How the audio is cut never changes a score. `num_values`
// counts all channels' values; 0 is nothing to do. AESA_STATUS_AUDIO for half a sample and for values that are not finite
// (nothing is taken then), AESA_STATUS_FINISHED after the clip's end, AESA_STATUS_NETWORK, which ends it.
AesaStatus aesa_scorer_accept_f32(AesaScorer *scorer,
                                  const float *interleaved,
                                  size_t num_values);

// aesa_scorer_accept_f32 for 16-bit samples.
AesaStatus aesa_scorer_accept_i16(AesaScorer *scorer, const int16_t *interleaved, size_t num_values);

// Marks the next `num_samples` samples of every channel as lost. Time goes on; frames that touch them are no part of the
// clip's scores. It takes as long as so much audio would; AESA_STATUS_INVALID_ARGUMENT for more than 2^40.
AesaStatus aesa_scorer_gap(AesaScorer *scorer,
                           uint64_t num_samples);

// The next frame that is ready, for `*frame`; AESA_STATUS_NONE if none is. Frames are final, and can be taken after finish,
// too; those not taken wait in memory.
AesaStatus aesa_scorer_next_frame(AesaScorer *scorer,
                                  AesaFrame *frame);

// The clip's scores so far, for `*clip`; AESA_STATUS_NONE before the first frame.
AesaStatus aesa_scorer_clip_so_far(const AesaScorer *scorer, AesaClip *clip);

// Ends the clip: scores what is left, for the last frames and `*clip`. AESA_STATUS_TOO_SHORT, AESA_STATUS_ALL_LOST,
// AESA_STATUS_NETWORK; AESA_STATUS_FINISHED the second time.
AesaStatus aesa_scorer_finish(AesaScorer *scorer,
                              AesaClip *clip);

// Forgets the clip; the next chunk is the start of another. Frames not taken are dropped.
AesaStatus aesa_scorer_reset(AesaScorer *scorer);

// The longest wait for a frame, for `*num_samples`: how many samples (per channel, at the caller's rate) have to be seen
// from a frame's start until its scores come out.
AesaStatus aesa_scorer_latency_samples(const AesaScorer *scorer,
                                       uint64_t *num_samples);

// Frees a scorer; null is nothing to do. No call may use the handle now or later, which cannot be noticed.
void aesa_scorer_free(AesaScorer *scorer);

// The message of the last call on this thread that failed; empty if none has. Never null; lives until the next call on
// this thread that fails, and no longer than the thread.
const char *aesa_last_error(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* AESA_H */
