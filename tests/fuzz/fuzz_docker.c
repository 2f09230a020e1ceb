/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_docker.c - what an engine or a file says of a container: what is taken fits a frame. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/frame.h"
#include "sensor/docker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, size_t limit)
{
    if (text && (strlen(text) == 0 || strlen(text) >= limit))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cb_docker_answer answer = {0};

    if (cb_docker_parse((const char *)data, size, &answer, NULL) < 0) {
        if (answer.found || answer.name || answer.image || answer.labels)
            abort();
        return 0;
    }
    check(answer.name, CB_FRAME_MAX_TEXT);
    check(answer.image, CB_FRAME_MAX_TEXT);
    check(answer.labels, CB_FRAME_MAX_LABELS);
    cb_docker_answer_fini(&answer);
    return 0;
}
