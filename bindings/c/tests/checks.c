/* checks MODEL CLIP.wav FOLDER: what the ABI promises, on one model and one mono clip; FOLDER is for files that are made here.
 * Prints a line per check that fails and, at the end, how many passed and failed. */
#include <aesa.h>
#include <math.h>
#include <pthread.h>

#include "../examples/wav.h"
#include "check.h"

#define MAX_FRAMES 1000

struct scored {
    AesaStatus status;
    AesaClip clip;
    size_t num_frames;
    AesaFrame frames[MAX_FRAMES];
};

static const char *folder;
static struct wav wav;
static AesaAudio mono;
static struct scored expected;

/* Whether a call failed with this code, and words. */
static int fails(AesaStatus status, AesaStatus code) { return status == code && aesa_last_error()[0] != '\0'; }

static void *slurp(const char *path, size_t *num_bytes) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) exit(2);
    *num_bytes = (size_t)ftell(file);
    rewind(file);
    void *bytes = malloc(*num_bytes);
    if (!bytes || fread(bytes, 1, *num_bytes, file) != *num_bytes) exit(2);
    fclose(file);
    return bytes;
}

static const char *write_file(const char *name, const void *bytes, size_t num_bytes) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, num_bytes, file) != num_bytes || fclose(file)) exit(2);
    return path;
}

static void take_frames(AesaScorer *scorer, struct scored *scored) {
    while (scored->num_frames < MAX_FRAMES &&
           aesa_scorer_next_frame(scorer, &scored->frames[scored->num_frames]) == AESA_STATUS_OK)
        scored->num_frames++;
}

/* The whole clip in chunks of so many values, as i16 or f32. */
static struct scored *score(AesaScorer *scorer, size_t chunk, int as_f32) {
    struct scored *scored = calloc(1, sizeof *scored);
    if (!scored) exit(2);
    for (size_t at = 0; at < wav.num_values && scored->status >= 0; at += chunk) {
        size_t count = wav.num_values - at < chunk ? wav.num_values - at : chunk;
        if (as_f32) {
            float *values = malloc(count * sizeof *values);
            if (!values) exit(2);
            for (size_t i = 0; i < count; i++) values[i] = wav.samples[at + i] / 32768.0f;
            scored->status = aesa_scorer_accept_f32(scorer, values, count);
            free(values);
        } else {
            scored->status = aesa_scorer_accept_i16(scorer, wav.samples + at, count);
        }
        take_frames(scorer, scored);
    }
    if (scored->status >= 0) scored->status = aesa_scorer_finish(scorer, &scored->clip);
    take_frames(scorer, scored);
    return scored;
}

/* Whether all is the same to the last bit; frees it. */
static int is_expected(struct scored *scored) {
    int same = scored->status == AESA_STATUS_OK && scored->num_frames == expected.num_frames &&
               !memcmp(&scored->clip, &expected.clip, sizeof scored->clip) &&
               !memcmp(scored->frames, expected.frames, scored->num_frames * sizeof *scored->frames);
    free(scored);
    return same;
}

static AesaScorer *new_scorer(const AesaModel *model) {
    AesaScorer *scorer = NULL;
    CHECK(aesa_scorer_new(model, &mono, &scorer) == AESA_STATUS_OK && scorer);
    return scorer;
}

static void check_score(const AesaModel *model) {
    AesaScorer *scorer = new_scorer(model);
    struct scored *scored = score(scorer, wav.num_values, 0);
    expected = *scored;
    free(scored);
    CHECK(expected.status == AESA_STATUS_OK && expected.num_frames > 0);
    CHECK(expected.clip.num_frames == expected.num_frames);
    double mean[4] = {0};
    for (size_t i = 0; i < expected.num_frames; i++) {
        const AesaFrame *frame = &expected.frames[i];
        if (fabs(frame->start_s - 0.16 * (double)i) > 1e-9 || frame->duration_s != 0.16 || frame->flags) CHECK(!"a frame's facts");
        for (int axis = 0; axis < 4; axis++) {
            if (!(frame->scores[axis] >= 0 && frame->scores[axis] <= 10)) CHECK(!"a score of 0 to 10");
            mean[axis] += frame->scores[axis] / (double)expected.num_frames;
        }
    }
    for (int axis = 0; axis < 4; axis++) CHECK(fabs(mean[axis] - expected.clip.scores[axis]) < 1e-5);
    aesa_scorer_free(scorer);
}

static void check_streams(const AesaModel *model) {
    const size_t chunks[] = {1, 777, 4096};
    AesaScorer *scorer = new_scorer(model);
    AesaClip clip;
    CHECK(aesa_scorer_clip_so_far(scorer, &clip) == AESA_STATUS_NONE);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        CHECK(is_expected(score(scorer, chunks[i], 0)));
        CHECK(aesa_scorer_clip_so_far(scorer, &clip) == AESA_STATUS_OK && !memcmp(&clip, &expected.clip, sizeof clip));
        CHECK(aesa_scorer_reset(scorer) == AESA_STATUS_OK);
    }
    CHECK(is_expected(score(scorer, 500, 1)));
    aesa_scorer_free(scorer);

    AesaAudio stereo = mono;
    stereo.num_channels = 2;
    int16_t *both = malloc(2 * wav.num_values * sizeof *both);
    if (!both) exit(2);
    for (size_t i = 0; i < 2 * wav.num_values; i++) both[i] = wav.samples[i / 2];
    CHECK(aesa_scorer_new(model, &stereo, &scorer) == AESA_STATUS_OK);
    CHECK(aesa_scorer_accept_i16(scorer, both, 2 * wav.num_values) == AESA_STATUS_OK);
    CHECK(aesa_scorer_finish(scorer, &clip) == AESA_STATUS_OK && !memcmp(&clip, &expected.clip, sizeof clip));
    free(both);
    aesa_scorer_free(scorer);
}

static void check_ends(const AesaModel *model) {
    AesaScorer *scorer = new_scorer(model);
    AesaClip clip;
    AesaFrame frame;
    CHECK(fails(aesa_scorer_finish(scorer, &clip), AESA_STATUS_TOO_SHORT));
    CHECK(aesa_scorer_reset(scorer) == AESA_STATUS_OK);
    CHECK(aesa_scorer_accept_i16(scorer, wav.samples, wav.num_values) == AESA_STATUS_OK);
    CHECK(aesa_scorer_finish(scorer, &clip) == AESA_STATUS_OK);
    CHECK(fails(aesa_scorer_finish(scorer, &clip), AESA_STATUS_FINISHED));
    CHECK(fails(aesa_scorer_accept_i16(scorer, wav.samples, 10), AESA_STATUS_FINISHED));
    CHECK(fails(aesa_scorer_accept_f32(scorer, NULL, 0), AESA_STATUS_FINISHED));
    CHECK(fails(aesa_scorer_gap(scorer, 10), AESA_STATUS_FINISHED));
    CHECK(aesa_scorer_next_frame(scorer, &frame) == AESA_STATUS_OK);
    CHECK(!memcmp(&frame, &expected.frames[0], sizeof frame));
    CHECK(aesa_scorer_reset(scorer) == AESA_STATUS_OK);
    CHECK(aesa_scorer_next_frame(scorer, &frame) == AESA_STATUS_NONE);
    CHECK(is_expected(score(scorer, 5000, 0)));
    aesa_scorer_free(scorer);
}

static void check_gaps(const AesaModel *model) {
    AesaScorer *scorer = new_scorer(model);
    AesaClip clip;
    size_t half = wav.num_values / 2, num_lost = 0, num_touched = 0;
    struct scored *scored = calloc(1, sizeof *scored);
    if (!scored) exit(2);
    CHECK(aesa_scorer_gap(scorer, 0) == AESA_STATUS_OK);
    CHECK(aesa_scorer_accept_i16(scorer, wav.samples, half) == AESA_STATUS_OK);
    CHECK(aesa_scorer_gap(scorer, mono.sample_rate_hz) == AESA_STATUS_OK);
    CHECK(aesa_scorer_accept_i16(scorer, wav.samples + half, wav.num_values - half) == AESA_STATUS_OK);
    CHECK(aesa_scorer_finish(scorer, &clip) == AESA_STATUS_OK);
    take_frames(scorer, scored);
    for (size_t i = 0; i < scored->num_frames; i++) {
        uint32_t flags = scored->frames[i].flags;
        num_lost += (flags & AESA_FRAME_FLAG_LOST) != 0;
        num_touched += (flags & AESA_FRAME_FLAG_GAP) != 0;
        CHECK(!(flags & AESA_FRAME_FLAG_LOST) || (flags & AESA_FRAME_FLAG_GAP));
    }
    /* A second is 6.25 steps. */
    CHECK(scored->num_frames >= expected.num_frames + 6 && num_lost >= 6 && num_lost <= 10 && num_touched >= num_lost);
    CHECK(clip.num_frames == scored->num_frames - num_lost);
    free(scored);
    CHECK(aesa_scorer_reset(scorer) == AESA_STATUS_OK);
    CHECK(aesa_scorer_gap(scorer, 3 * (uint64_t)mono.sample_rate_hz) == AESA_STATUS_OK);
    CHECK(fails(aesa_scorer_finish(scorer, &clip), AESA_STATUS_ALL_LOST));
    aesa_scorer_free(scorer);
}

static void check_bad_audio(const AesaModel *model) {
    AesaScorer *scorer = new_scorer(model);
    float values[4] = {0, NAN, INFINITY, 0};
    char bytes[16] = {0};
    CHECK(fails(aesa_scorer_accept_f32(scorer, values, 4), AESA_STATUS_AUDIO));
    CHECK(fails(aesa_scorer_accept_i16(scorer, wav.samples, SIZE_MAX), AESA_STATUS_INVALID_ARGUMENT));
    CHECK(fails(aesa_scorer_accept_f32(scorer, values, SIZE_MAX / 4), AESA_STATUS_INVALID_ARGUMENT));
    const char *odd = bytes + ((uintptr_t)bytes % 2 == 0);
    CHECK(fails(aesa_scorer_accept_i16(scorer, (const int16_t *)(const void *)odd, 2), AESA_STATUS_INVALID_ARGUMENT));
    CHECK(fails(aesa_scorer_gap(scorer, (uint64_t)-5), AESA_STATUS_INVALID_ARGUMENT));
    /* Nothing of all that was taken. */
    CHECK(is_expected(score(scorer, 3000, 0)));
    aesa_scorer_free(scorer);

    AesaAudio stereo = mono;
    stereo.num_channels = 2;
    CHECK(aesa_scorer_new(model, &stereo, &scorer) == AESA_STATUS_OK);
    CHECK(fails(aesa_scorer_accept_i16(scorer, wav.samples, 3), AESA_STATUS_AUDIO));
    aesa_scorer_free(scorer);
}

static void check_layouts(const AesaModel *model) {
    AesaModelInfo info;
    AesaScorer *scorer = NULL;
    AesaAudio bad[4] = {mono, mono, mono, mono};
    bad[0].sample_rate_hz = 0;
    bad[1].num_channels = 0;
    bad[2].reserved[3] = 1;
    bad[3].look_ahead_steps = 3;
    for (int i = 0; i < 4; i++) CHECK(fails(aesa_scorer_new(model, &bad[i], &scorer), AESA_STATUS_INVALID_ARGUMENT) && !scorer);

    AesaAudio soon = mono;
    soon.hop_steps = 6;
    soon.look_ahead_steps = 6;
    CHECK(aesa_model_info(model, &info) == AESA_STATUS_OK);
    if (!strcmp(info.policy, "windowed")) {
        uint64_t late_samples = 0, soon_samples = 0;
        AesaScorer *late = new_scorer(model);
        CHECK(aesa_scorer_new(model, &soon, &scorer) == AESA_STATUS_OK);
        CHECK(aesa_scorer_latency_samples(late, &late_samples) == AESA_STATUS_OK);
        CHECK(aesa_scorer_latency_samples(scorer, &soon_samples) == AESA_STATUS_OK);
        CHECK(soon_samples > 2 * (uint64_t)mono.sample_rate_hz * 96 / 100 && soon_samples < late_samples / 3);
        struct scored *scored = score(scorer, 1000, 0);
        CHECK(scored->status == AESA_STATUS_OK && scored->num_frames == expected.num_frames);
        free(scored);
        aesa_scorer_free(late);
        aesa_scorer_free(scorer);
    } else {
        CHECK(fails(aesa_scorer_new(model, &soon, &scorer), AESA_STATUS_INVALID_ARGUMENT) && !scorer);
    }
}

static void check_nulls(const AesaModel *model) {
    AesaScorer *scorer = new_scorer(model), *other = NULL;
    AesaModel *loaded = (AesaModel *)&other;
    AesaModelInfo info;
    AesaFrame frame;
    AesaClip clip;
    uint64_t count;
    const AesaStatus null = AESA_STATUS_NULL_ARGUMENT;
    CHECK(fails(aesa_model_load(NULL, &loaded), null) && !loaded);
    CHECK(fails(aesa_model_load("x", NULL), null));
    CHECK(fails(aesa_model_from_bytes(NULL, 0, &loaded), null));
    CHECK(fails(aesa_model_from_bytes((const uint8_t *)"x", 1, NULL), null));
    CHECK(fails(aesa_model_starter(NULL), null));
    CHECK(fails(aesa_model_info(NULL, &info), null));
    CHECK(fails(aesa_model_info(model, NULL), null));
    CHECK(fails(aesa_scorer_new(NULL, &mono, &other), null));
    CHECK(fails(aesa_scorer_new(model, NULL, &other), null));
    CHECK(fails(aesa_scorer_new(model, &mono, NULL), null));
    CHECK(fails(aesa_scorer_accept_f32(NULL, NULL, 0), null));
    CHECK(fails(aesa_scorer_accept_f32(scorer, NULL, 1), null));
    CHECK(fails(aesa_scorer_accept_i16(NULL, wav.samples, 1), null));
    CHECK(fails(aesa_scorer_accept_i16(scorer, NULL, 1), null));
    CHECK(aesa_scorer_accept_i16(scorer, NULL, 0) == AESA_STATUS_OK);
    CHECK(fails(aesa_scorer_gap(NULL, 1), null));
    CHECK(fails(aesa_scorer_next_frame(NULL, &frame), null));
    CHECK(fails(aesa_scorer_next_frame(scorer, NULL), null));
    CHECK(fails(aesa_scorer_clip_so_far(NULL, &clip), null));
    CHECK(fails(aesa_scorer_clip_so_far(scorer, NULL), null));
    CHECK(fails(aesa_scorer_finish(NULL, &clip), null));
    CHECK(fails(aesa_scorer_finish(scorer, NULL), null));
    CHECK(fails(aesa_scorer_reset(NULL), null));
    CHECK(fails(aesa_scorer_latency_samples(NULL, &count), null));
    CHECK(fails(aesa_scorer_latency_samples(scorer, NULL), null));
    aesa_model_free(NULL);
    aesa_scorer_free(NULL);
    /* A null for the result did not end the clip. */
    CHECK(is_expected(score(scorer, 3000, 0)));
    aesa_scorer_free(scorer);
}

static void check_bad_models(const char *path) {
    AesaModel *model = NULL;
    size_t num_bytes;
    uint8_t *bytes = slurp(path, &num_bytes);
    CHECK(fails(aesa_model_load(write_file("text", "no model\n", 9), &model), AESA_STATUS_MODEL) && !model);
    CHECK(fails(aesa_model_load(write_file("half", bytes, num_bytes / 2), &model), AESA_STATUS_MODEL) && !model);
    bytes[num_bytes / 2] ^= 0x40;
    CHECK(fails(aesa_model_from_bytes(bytes, num_bytes, &model), AESA_STATUS_MODEL) && !model);
    CHECK(fails(aesa_model_from_bytes(bytes, 0, &model), AESA_STATUS_MODEL) && !model);
    CHECK(fails(aesa_model_from_bytes(bytes, SIZE_MAX, &model), AESA_STATUS_INVALID_ARGUMENT) && !model);
    CHECK(fails(aesa_model_load("no/such/file", &model), AESA_STATUS_READ) && !model);
    CHECK(strstr(aesa_last_error(), "no/such/file") != NULL);
    CHECK(fails(aesa_model_load(folder, &model), AESA_STATUS_READ) && !model);
    CHECK(fails(aesa_model_load("\xff\xfe", &model), AESA_STATUS_INVALID_ARGUMENT) && !model);
    free(bytes);
}

static void check_bytes(const char *path) {
    AesaModel *model = NULL;
    size_t num_bytes;
    uint8_t *bytes = slurp(path, &num_bytes);
    uint8_t *odd = malloc(num_bytes + 1);
    if (!odd) exit(2);
    memcpy(odd + 1, bytes, num_bytes);
    CHECK(aesa_model_from_bytes(odd + 1, num_bytes, &model) == AESA_STATUS_OK && model);
    memset(odd, 0, num_bytes + 1);
    free(odd);
    free(bytes);
    AesaScorer *scorer = new_scorer(model);
    CHECK(is_expected(score(scorer, 4000, 0)));
    aesa_scorer_free(scorer);
    aesa_model_free(model);
}

static void check_starter(void) {
    AesaModel *model = NULL;
    AesaStatus status = aesa_model_starter(&model);
    CHECK((status == AESA_STATUS_OK && model) || (fails(status, AESA_STATUS_UNSUPPORTED) && !model));
    aesa_model_free(model);
}

static void *score_in_thread(void *scorer) {
    int all_same = aesa_last_error()[0] == '\0';
    for (int i = 0; i < 3; i++) {
        all_same &= is_expected(score(scorer, 1000 + (size_t)i, 0));
        all_same &= aesa_scorer_reset(scorer) == AESA_STATUS_OK;
    }
    aesa_scorer_free(scorer);
    return all_same ? scorer : NULL;
}

/* Two scorers of one model, made here, used and freed there, after the model's handle has gone. */
static void check_threads(const char *path) {
    AesaModel *model = NULL;
    pthread_t threads[2];
    CHECK(fails(aesa_scorer_reset(NULL), AESA_STATUS_NULL_ARGUMENT));
    CHECK(aesa_model_load(path, &model) == AESA_STATUS_OK);
    AesaScorer *scorers[2] = {new_scorer(model), new_scorer(model)};
    aesa_model_free(model);
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, score_in_thread, scorers[i]) == 0);
    for (int i = 0; i < 2; i++) {
        void *result = NULL;
        CHECK(pthread_join(threads[i], &result) == 0 && result);
    }
}

static void check_texts(const AesaModel *model) {
    AesaModelInfo info;
    CHECK(aesa_version()[0] >= '0' && aesa_version()[0] <= '9' && strchr(aesa_version(), '.'));
    CHECK(!strcmp(aesa_status_text(AESA_STATUS_OK), "ok") && !strcmp(aesa_status_text(12345), "unknown status"));
    CHECK(aesa_model_info(model, &info) == AESA_STATUS_OK && info.id[0] && info.version[0] && info.max_steps > 0);
    CHECK(!strcmp(info.labels, "human") || !strcmp(info.labels, "proxy"));
    CHECK(!strcmp(info.runtime, "native") || !strcmp(info.runtime, "tract"));
}

int main(int argc, char **argv) {
    AesaModel *model = NULL;
    if (argc != 4 || !wav_read(argv[2], &wav) || wav.num_channels != 1) {
        fprintf(stderr, "usage: checks MODEL MONO.wav FOLDER\n");
        return 2;
    }
    folder = argv[3];
    mono = (AesaAudio){.sample_rate_hz = wav.sample_rate_hz, .num_channels = 1};
    CHECK(aesa_model_load(argv[1], &model) == AESA_STATUS_OK && model);
    if (model) {
        check_texts(model);
        check_score(model);
        check_streams(model);
        check_ends(model);
        check_gaps(model);
        check_bad_audio(model);
        check_layouts(model);
        check_nulls(model);
        check_bad_models(argv[1]);
        check_bytes(argv[1]);
        check_starter();
        check_threads(argv[1]);
        aesa_model_free(model);
    }
    free(wav.samples);
    printf("%d passed, %d failed\n", num_passed, num_failed);
    return num_failed != 0;
}
