/* SPDX-License-Identifier: Apache-2.0 */
/* err.c - see err.h. */
#include "lib/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/utf8.h"

int cb_err_set(struct cb_err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;

        va_start(ap, fmt);
        err->code = code;
        if (vsnprintf(err->text, sizeof(err->text), fmt, ap) < 0)
            err->text[0] = '\0';
        va_end(ap);
        cb_utf8_clean(err->text); /* one line, whatever a file or a socket said */
    }
    return -code;
}

int cb_err_prefix(struct cb_err *err, int r, const char *fmt, ...)
{
    if (err) {
        char old[CB_ERR_TEXT];
        va_list ap;
        int n;

        memcpy(old, err->text, sizeof(old));
        va_start(ap, fmt);
        n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof(err->text))
            (void)snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", old);
        cb_utf8_clean(err->text);
    }
    return r;
}
