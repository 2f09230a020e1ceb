/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_link.c - lib/link_wire: any parts are a message within its limits or refused. The input is
 * a list of parts, each after its length (one byte; 255: all that is left). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/link_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
    if (!ok)
        abort();
}

static void check_request(const struct cb_link_part *parts, size_t n)
{
    struct cb_link_message m = {.seq = 77};

    if (cb_link_wire_parse_request(parts, n, &m) < 0) {
        must(m.seq == 77);
        return;
    }
    switch (m.kind) {
    case CB_LINK_MSG_HELLO:
        must(m.sensor[0] && strlen(m.boot_id) == 36 && cb_link_wire_is_start_id(m.start_id));
        break;
    case CB_LINK_MSG_FRAME:
        must(m.seq > 0 && m.size > 0 && m.bytes && cb_link_wire_is_start_id(m.start_id));
        break;
    case CB_LINK_MSG_NONE:
        must(cb_link_wire_tag(parts, n) == 'P' && n == 1);
    }
}

static void check_reply(const struct cb_link_part *parts, size_t n)
{
    struct cb_link_event e = {.seq = 77};

    if (cb_link_wire_parse_reply(parts, n, &e) < 0) {
        must(e.seq == 77);
        return;
    }
    switch (e.kind) {
    case CB_LINK_WELCOME:
        must(strlen(e.epoch) == 32 && e.credit > 0);
        break;
    case CB_LINK_ACK:
        must(e.seq > 0 && cb_link_wire_is_start_id(e.start_id));
        break;
    case CB_LINK_REFUSED:
        must(strlen(e.text) < sizeof(e.text) && (e.seq > 0) == (e.start_id[0] != '\0'));
        break;
    case CB_LINK_NONE:
        must(cb_link_wire_tag(parts, n) == 'P' && n == 1);
        break;
    case CB_LINK_DOWN:
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cb_link_part parts[CB_LINK_MAX_PARTS];
    char endpoint[300];
    size_t n = 0;
    size_t at = 0;

    while (at < size && n < CB_LINK_MAX_PARTS) {
        size_t part = data[at] == 255 || data[at] > size - at - 1 ? size - at - 1 : data[at];

        parts[n++] = (struct cb_link_part){.bytes = data + at + 1, .size = part};
        at += 1 + part;
    }
    check_request(parts, n);
    check_reply(parts, n);
    if (size < sizeof(endpoint)) {
        if (size)
            memcpy(endpoint, data, size);
        endpoint[size] = '\0';
        if (cb_link_wire_check_endpoint(endpoint, false, true, false, NULL) == 0)
            must(cb_link_wire_check_endpoint(endpoint, true, false, false, NULL) == 0);
    }
    return 0;
}
