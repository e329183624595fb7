/* score MODEL CLIP.wav [VALUES]: prints a 16-bit WAV's frame scores and the clip's. So many values at once, of all channels together; 0: all. */
#include <aesa.h>

#include "wav.h"

/* Whether a call went well; says so on standard error if not. */
static int ok(AesaStatus status, const char *what) {
    if (status >= 0) return 1;
    fprintf(stderr, "score: %s: %s\n", what, aesa_last_error());
    return 0;
}

static void print_frames(AesaScorer *scorer) {
    AesaFrame frame;
    while (aesa_scorer_next_frame(scorer, &frame) == AESA_STATUS_OK) {
        const float *s = frame.scores;
        printf("%.2f %.7f %.7f %.7f %.7f%s\n", frame.start_s, s[AESA_AXIS_PQ], s[AESA_AXIS_PC], s[AESA_AXIS_CE],
               s[AESA_AXIS_CU], frame.flags & AESA_FRAME_FLAG_LOST ? " lost" : "");
    }
}

/* In chunks, as a sound card would give them. */
static int score(AesaScorer *scorer, const struct wav *wav, size_t chunk) {
    AesaClip clip;
    for (size_t at = 0; at < wav->num_values; at += chunk) {
        size_t left = wav->num_values - at;
        if (!ok(aesa_scorer_accept_i16(scorer, wav->samples + at, left < chunk ? left : chunk), "audio")) return 1;
        print_frames(scorer);
    }
    if (!ok(aesa_scorer_finish(scorer, &clip), "clip")) return 1;
    print_frames(scorer);
    printf("clip %.7f %.7f %.7f %.7f\n", clip.scores[AESA_AXIS_PQ], clip.scores[AESA_AXIS_PC],
           clip.scores[AESA_AXIS_CE], clip.scores[AESA_AXIS_CU]);
    return 0;
}

int main(int argc, char **argv) {
    struct wav wav;
    AesaModel *model = NULL;
    AesaScorer *scorer = NULL;
    int status = 1;
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: score MODEL CLIP.wav [VALUES]\n");
        return 2;
    }
    if (!wav_read(argv[2], &wav)) {
        fprintf(stderr, "score: %s is no 16-bit WAV\n", argv[2]);
        return 1;
    }
    size_t chunk = argc == 4 ? strtoul(argv[3], NULL, 10) : (size_t)wav.num_channels * 1000;
    if (chunk == 0) chunk = wav.num_values;
    AesaAudio audio = {.sample_rate_hz = wav.sample_rate_hz, .num_channels = wav.num_channels};
    if (ok(aesa_model_load(argv[1], &model), "model") && ok(aesa_scorer_new(model, &audio, &scorer), "scorer"))
        status = score(scorer, &wav, chunk);
    aesa_scorer_free(scorer);
    aesa_model_free(model);
    free(wav.samples);
    return status;
}
