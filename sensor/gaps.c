/* SPDX-License-Identifier: Apache-2.0 */
/* gaps.c - see gaps.h. */
#include "sensor/gaps.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "lib/utf8.h"

void cb_gaps_reset(struct cb_gaps *gaps)
{
    gaps->n = gaps->n_standing;
    gaps->dropped = 0;
}

__attribute__((format(printf, 3, 0))) static void add(struct cb_gaps *gaps, const char *source,
                                                      const char *fmt, va_list ap)
{
    size_t i = gaps->n;

    if (i == CB_FRAME_MAX_GAPS) {
        gaps->dropped++;
        return;
    }
    (void)snprintf(gaps->source[i], sizeof(gaps->source[i]), "%s", source);
    (void)vsnprintf(gaps->reason[i], sizeof(gaps->reason[i]), fmt, ap);
    cb_utf8_clean(gaps->source[i]); /* it may have been cut, and a frame takes no other text */
    cb_utf8_clean(gaps->reason[i]);
    gaps->at[i] = (struct cb_frame_gap){.source = gaps->source[i], .reason = gaps->reason[i]};
    gaps->n++;
}

void cb_gaps_add(struct cb_gaps *gaps, const char *source, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add(gaps, source, fmt, ap);
    va_end(ap);
}

void cb_gaps_add_standing(struct cb_gaps *gaps, const char *source, const char *fmt, ...)
{
    va_list ap;

    assert(gaps->n == gaps->n_standing);
    va_start(ap, fmt);
    add(gaps, source, fmt, ap);
    va_end(ap);
    gaps->n_standing = gaps->n;
}
