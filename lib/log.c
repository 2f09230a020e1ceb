/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - see log.h. */
#include "lib/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/utf8.h"

#define LINE_MAX_BYTES 2048

static const char *const level_names[] = {"err", "warn", "info", "debug"};

static struct {
    const char *program;
    enum cb_log_level level;
    bool json;
} state = {.program = "cbwatts", .level = CB_LOG_INFO};

void cb_log_init(const char *program, enum cb_log_level level, bool json)
{
    state.program = program;
    state.level = level;
    state.json = json;
}

int cb_log_level_parse(const char *text, enum cb_log_level *ret_level)
{
    for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++)
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (enum cb_log_level)i;
            return 0;
        }
    return -EINVAL;
}

/* Escape for a JSON string. */
static void escape(const char *from, char *to, size_t size)
{
    size_t n = 0;

    for (; *from && n + 3 < size; from++) {
        if (*from == '"' || *from == '\\')
            to[n++] = '\\';
        to[n++] = *from;
    }
    to[n] = '\0';
}

__attribute__((format(printf, 3, 0))) static void emit(enum cb_log_level level, uint64_t held,
                                                       const char *fmt, va_list ap)
{
    int saved = errno;
    char text[LINE_MAX_BYTES / 2];
    char safe[LINE_MAX_BYTES - 256];
    char when[32];
    char more[64] = "";
    char line[LINE_MAX_BYTES];
    int n;

    if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
        text[0] = '\0';
    cb_utf8_clean(text);
    if (state.json) {
        escape(text, safe, sizeof(safe));
        cb_utf8_clean(safe); /* it may have been cut */
    } else {
        (void)snprintf(safe, sizeof(safe), "%s", text);
    }
    if (held)
        (void)snprintf(more, sizeof(more), " (%llu more like it)", (unsigned long long)held);
    cb_clock_format_utc(cb_clock_wall_ns(), when);
    if (state.json)
        n = snprintf(line, sizeof(line),
                     "{\"time\":\"%s\",\"program\":\"%s\",\"level\":\"%s\",\"text\":\"%s%s\"}\n",
                     when, state.program, level_names[level], safe, more);
    else
        n = snprintf(line, sizeof(line), "%s %s: %s%s%s\n", when, state.program,
                     level == CB_LOG_ERR    ? "error: "
                     : level == CB_LOG_WARN ? "warning: "
                                            : "",
                     safe, more);
    if (n > 0) {
        size_t size = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;

        line[size - 1] = '\n';
        if (write(STDERR_FILENO, line, size) < 0) {
            /* Nowhere left to say so. */
        }
    }
    errno = saved;
}

void cb_log(enum cb_log_level level, const char *fmt, ...)
{
    va_list ap;

    if (level > state.level)
        return;
    va_start(ap, fmt);
    emit(level, 0, fmt, ap);
    va_end(ap);
}

void cb_log_limited(struct cb_log_limit *limit, uint64_t interval_ns, enum cb_log_level level,
                    const char *fmt, ...)
{
    uint64_t now = cb_clock_boot_ns();
    va_list ap;

    if (level > state.level)
        return;
    if (now < limit->next_ns) {
        limit->held++;
        return;
    }
    limit->next_ns = now + interval_ns;
    va_start(ap, fmt);
    emit(level, limit->held, fmt, ap);
    va_end(ap);
    limit->held = 0;
}
