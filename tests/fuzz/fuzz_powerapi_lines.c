/* SPDX-License-Identifier: Apache-2.0 */
/* A byte stream cut anywhere gives the same documents as in one piece, each from brace to brace. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formula/powerapi_lines.h"
#include "lib/hwpc.h"

/* FNV over the documents, and how many. */
struct seen {
    uint64_t hash, n, bad;
};

static void take(struct cb_powerapi_lines *lines, struct seen *seen)
{
    const char *text;
    size_t size, used;

    while (cb_powerapi_lines_next(lines, &text, &size)) {
        struct cb_hwpc_report *report = NULL;

        if (size < 2 || text[0] != '{' || text[size - 1] != '}' || memchr(text, '\n', size))
            abort();
        if (cb_hwpc_parse(text, size, &report, &used, NULL) == 0)
            report = cb_hwpc_report_free(report);
        for (size_t i = 0; i < size; i++)
            seen->hash = (seen->hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
        seen->n++;
    }
}

static struct seen read_in(const uint8_t *data, size_t size, size_t step)
{
    struct cb_powerapi_lines lines = {0};
    struct seen seen = {0};

    for (size_t at = 0, n; at < size; at += n) {
        size_t room;
        char *to;

        if (cb_powerapi_lines_room(&lines, &to, &room) < 0)
            break;
        n = size - at < step ? size - at : step;
        n = n < room ? n : room;
        memcpy(to, data + at, n);
        cb_powerapi_lines_added(&lines, n);
        take(&lines, &seen);
    }
    seen.bad = lines.bad;
    cb_powerapi_lines_clear(&lines);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole, pieces;

    if (size < 1)
        return 0;
    whole = read_in(data + 1, size - 1, SIZE_MAX);
    pieces = read_in(data + 1, size - 1, 1 + data[0]);
    if (memcmp(&whole, &pieces, sizeof(whole)) != 0)
        abort();
    return 0;
}
