/* SPDX-License-Identifier: Apache-2.0 */
/* err.h - what went wrong, in the caller's storage: no allocation, so it also works on ENOMEM. */
#ifndef CB_LIB_ERR_H
#define CB_LIB_ERR_H

#define CB_ERR_TEXT 512

struct cb_err {
    int code;               /* positive errno value; 0 while nothing has failed */
    char text[CB_ERR_TEXT]; /* one line, no trailing newline, safe to log as it is */
};

/* Fill @err (NULL: drop the text) and return -@code, so that callers can `return cb_err_set(...)`.
 */
int cb_err_set(struct cb_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Put a context and ": " before the text that is there; returns @r, the code being passed up. */
int cb_err_prefix(struct cb_err *err, int r, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

#endif
