/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_docker.c - what engines and runtimes' files say of a container: what is taken fits a frame.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/frame.h"
#include "sensor/docker.h"

#define ID "4cd06fd832947f9d269fe60077ab37614d8d5d640a723edf0009af7e68dfa49a"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, size_t limit)
{
    if (text && (strlen(text) == 0 || strlen(text) >= limit))
        abort();
}

static void check_text(int r, struct cb_container_text *text)
{
    if (r < 0 && (text->name || text->image || text->labels))
        abort();
    check(text->name, CB_FRAME_MAX_TEXT);
    check(text->image, CB_FRAME_MAX_TEXT);
    check(text->labels, CB_FRAME_MAX_LABELS);
    cb_container_text_fini(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *json = (const char *)data;
    struct cb_container_text text = {0};
    char id[CB_CONTAINER_ID_SIZE];

    check_text(cb_container_text_docker(json, size, &text, NULL), &text);
    check_text(cb_container_text_storage(json, size, ID, &text, NULL), &text);
    check_text(cb_container_text_oci(json, size, &text, NULL), &text);
    if (cb_docker_parse_rename(json, size, id) && strlen(id) != CB_CONTAINER_ID_SIZE - 1)
        abort();
    return 0;
}
