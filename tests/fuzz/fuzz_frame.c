/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_frame.c - lib/frame: bytes are a frame or refused; a frame has one form only. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/err.h"
#include "lib/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cb_frame_encoder *encoder;
    struct cb_frame frame;
    struct cb_err err = {0};
    const uint8_t *bytes;
    size_t again;
    int r = cb_frame_decode(data, size, &frame, &err);

    if (r < 0) {
        if (err.code != -r || !err.text[0])
            abort();
        return 0;
    }
    if (!encoder)
        encoder = cb_frame_encoder_new();
    if (cb_frame_encode(encoder, &frame, &bytes, &again, NULL) != 0 || again != size ||
        memcmp(bytes, data, size) != 0)
        abort();
    cb_frame_clear(&frame);
    return 0;
}
