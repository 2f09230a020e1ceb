/* SPDX-License-Identifier: Apache-2.0 */
/* Any CSV gives reports in the order of time, and no CPU twice. The input is two files, cut at a
 * NUL. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hwpc_csv.h"

static int add(struct cb_hwpc_csv *csv, const char *group, const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    return cb_hwpc_csv_add(csv, "fuzz", group, text, NULL);
}

static void read_all(struct cb_hwpc_csv *csv)
{
    struct cb_hwpc_report *report = NULL;
    int64_t last_ms = 0;

    for (;;) {
        if (cb_hwpc_csv_next(csv, &report, NULL) < 0 || !report)
            return;
        if (report->timestamp_ms < last_ms || !*report->sensor || !*report->target)
            abort();
        last_ms = report->timestamp_ms;
        for (size_t i = 1; i < report->n_counts; i++) {
            if (!(report->counts[i].value >= 0))
                abort();
        }
        report = cb_hwpc_report_free(report);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, '\0', size) : NULL;
    size_t first = nul ? (size_t)(nul - data) : size;
    struct cb_hwpc_csv_options options = {.skip_bad = true, .last_wins = size % 2};
    struct cb_hwpc_csv *csv = NULL;

    if (size == 0 || cb_hwpc_csv_new(&options, &csv, NULL) < 0)
        return 0;
    (void)!add(csv, "core", data, first);
    if (nul)
        (void)!add(csv, "rapl", nul + 1, size - first - 1);
    cb_hwpc_csv_sort(csv);
    read_all(csv);
    (void)cb_hwpc_csv_free(csv);
    return 0;
}
