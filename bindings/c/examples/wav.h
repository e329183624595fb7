/* Reads 16-bit PCM WAV files, for the examples: no other format, no streaming. */
#ifndef WAV_H
#define WAV_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wav {
    uint32_t sample_rate_hz;
    uint32_t num_channels;
    size_t num_values; /* of all channels together */
    int16_t *samples;  /* interleaved; free it */
};

static uint32_t wav_number(const unsigned char *bytes, int num_bytes) {
    uint32_t number = 0;
    for (int i = 0; i < num_bytes; i++) number |= (uint32_t)bytes[i] << (8 * i);
    return number;
}

/* Whether `path` could be read into `wav`. */
static int wav_read(const char *path, struct wav *wav) {
    unsigned char head[12], chunk[8], format[16];
    int is_pcm16 = 0, is_read = 0;
    FILE *file = fopen(path, "rb");
    memset(wav, 0, sizeof *wav);
    if (!file) return 0;
    if (fread(head, 1, 12, file) == 12 && !memcmp(head, "RIFF", 4) && !memcmp(head + 8, "WAVE", 4)) {
        while (!is_read && fread(chunk, 1, 8, file) == 8) {
            uint32_t num_bytes = wav_number(chunk + 4, 4), done = 0;
            if (!memcmp(chunk, "fmt ", 4) && num_bytes >= 16 && fread(format, 1, 16, file) == 16) {
                is_pcm16 = wav_number(format, 2) == 1 && wav_number(format + 14, 2) == 16;
                wav->num_channels = wav_number(format + 2, 2);
                wav->sample_rate_hz = wav_number(format + 4, 4);
                done = 16;
            } else if (is_pcm16 && !memcmp(chunk, "data", 4)) {
                unsigned char *bytes = (unsigned char *)malloc(num_bytes);
                if (!bytes) break;
                wav->num_values = fread(bytes, 1, num_bytes, file) / 2;
                wav->samples = (int16_t *)bytes;
                for (size_t i = 0; i < wav->num_values; i++)
                    wav->samples[i] = (int16_t)wav_number(bytes + 2 * i, 2);
                is_read = 1;
            }
            if (fseek(file, (long)(num_bytes - done + num_bytes % 2), SEEK_CUR)) break;
        }
    }
    fclose(file);
    return is_read;
}

#endif
