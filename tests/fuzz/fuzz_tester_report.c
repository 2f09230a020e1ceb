/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_tester_report.c - a recap from a file or from cbformula: read, checked and shown. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/err.h"
#include "tester/owner.h"
#include "tester/render.h"
#include "tester/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The label of a container is text of others, too. */
static void try_owner(const uint8_t *data, size_t size)
{
    char text[256];
    char again[CB_OWNER_TEXT];
    struct cb_owner owner;

    if (size >= sizeof(text))
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    if (cb_owner_parse(text, &owner) == 0)
        cb_owner_format(&owner, again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cb_report_list list = {0};
    char *page = NULL;
    size_t page_size;

    try_owner(data, size);
    if (cb_report_list_parse(&list, (const char *)data, size, NULL) == 0) {
        FILE *out = open_memstream(&page, &page_size);

        if (!out || cb_render_reports(list.reports, list.n, out, NULL) < 0)
            abort();
        (void)fclose(out);
        /* nothing may steer a terminal */
        for (size_t i = 0; i < page_size; i++)
            if ((page[i] >= 0 && page[i] < 0x20 && page[i] != '\n') || page[i] == 0x7f)
                abort();
        free(page);
    }
    cb_report_list_clear(&list);
    return 0;
}
