/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line per event on stderr, as text or JSON.
 *
 * The place that handles an error logs it, once: what failed, on which object, what happens now.
 * Modules and lib/ return errors; they log at debug only. Lines are written by one write(2), so
 * they do not mix; errno is kept. Threads: any, after cb_log_init() (which is optional).
 */
#ifndef CB_LIB_LOG_H
#define CB_LIB_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum cb_log_level { CB_LOG_ERR, CB_LOG_WARN, CB_LOG_INFO, CB_LOG_DEBUG };

/* @program is borrowed for the life of the process. Default: "cbwatts", info, text. */
void cb_log_init(const char *program, enum cb_log_level level, bool json);

void cb_log(enum cb_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define cb_log_err(...) cb_log(CB_LOG_ERR, __VA_ARGS__)
#define cb_log_warn(...) cb_log(CB_LOG_WARN, __VA_ARGS__)
#define cb_log_info(...) cb_log(CB_LOG_INFO, __VA_ARGS__)
#define cb_log_debug(...) cb_log(CB_LOG_DEBUG, __VA_ARGS__)

/*
 * A repeated message: at most one line each @interval_ns for one @limit (zero-initialised, owned by
 * the caller, one thread at a time). The next line that passes says how many were held back.
 */
struct cb_log_limit {
    uint64_t next_ns;
    uint64_t held;
};
void cb_log_limited(struct cb_log_limit *limit, uint64_t interval_ns, enum cb_log_level level,
                    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* "err", "warn", "info", "debug" to a level; -EINVAL otherwise. */
int cb_log_level_parse(const char *text, enum cb_log_level *ret_level);

#endif
