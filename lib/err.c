/* SPDX-License-Identifier: Apache-2.0 */
/* err.c - see err.h. */
#include "lib/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes below 0x20 come from files and sockets; a log line must stay one line. */
static void one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

int cb_err_set(struct cb_err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;

        va_start(ap, fmt);
        err->code = code;
        if (vsnprintf(err->text, sizeof(err->text), fmt, ap) < 0)
            err->text[0] = '\0';
        va_end(ap);
        one_line(err->text);
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
        one_line(err->text);
    }
    return r;
}
