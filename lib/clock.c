/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c - see clock.h. */
#include "lib/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/err.h"

static uint64_t now_ns(clockid_t id)
{
    struct timespec ts = {0};

    (void)clock_gettime(id, &ts); /* cannot fail for these two clocks */
    return (uint64_t)ts.tv_sec * CB_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t cb_clock_boot_ns(void)
{
    return now_ns(CLOCK_BOOTTIME);
}

uint64_t cb_clock_wall_ns(void)
{
    return now_ns(CLOCK_REALTIME);
}

int cb_clock_boot_id(int root_fd, char ret_id[CB_BOOT_ID_SIZE], struct cb_err *err)
{
    static const char path[] = "proc/sys/kernel/random/boot_id";
    char text[CB_BOOT_ID_SIZE];
    cb_auto_close int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return cb_err_set(err, errno, "cannot open '/%s': %s", path, strerror(errno));

    ssize_t n = read(fd, text, sizeof(text) - 1);

    if (n < 0)
        return cb_err_set(err, errno, "cannot read '/%s': %s", path, strerror(errno));
    text[n] = '\0';
    if (n != CB_BOOT_ID_SIZE - 1 || strspn(text, "0123456789abcdef-") != CB_BOOT_ID_SIZE - 1)
        return cb_err_set(err, EINVAL, "'/%s' does not hold a UUID: '%s'", path, text);
    memcpy(ret_id, text, sizeof(text));
    return 0;
}

void cb_clock_format_utc(uint64_t wall_ns, char ret_text[32])
{
    time_t s = (time_t)(wall_ns / CB_NS_PER_S);
    struct tm tm;
    char date[24];

    if (!gmtime_r(&s, &tm) || strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        memcpy(date, "invalid", sizeof("invalid"));
    (void)snprintf(ret_text, 32, "%s.%03uZ", date, (unsigned)(wall_ns / 1000000 % 1000));
}
