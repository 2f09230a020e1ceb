/* SPDX-License-Identifier: Apache-2.0 */
/* wall.c - see wall.h. */
#include "formula/wall.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"

#define SECONDS_MAX UINT64_C(9000000000) /* the year 2255: fits nanoseconds in 63 bits */
#define FRACTION_DIGITS 9

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ".25" as nanoseconds, or nothing; *@text moves behind it. */
static int parse_fraction(const char **text, uint64_t *ret_ns)
{
    uint64_t ns = 0;
    unsigned n = 0;

    *ret_ns = 0;
    if (**text != '.')
        return 0;
    for (++*text; is_digit(**text); ++*text, n++)
        if (n < FRACTION_DIGITS)
            ns = 10 * ns + (uint64_t)(**text - '0');
    if (n == 0 || n > FRACTION_DIGITS)
        return -EINVAL;
    for (; n < FRACTION_DIGITS; n++)
        ns *= 10;
    *ret_ns = ns;
    return 0;
}

int cb_wall_parse_epoch(const char *text, uint64_t *ret_wall_ns)
{
    uint64_t seconds = 0;
    uint64_t ns;

    if (!is_digit(*text))
        return -EINVAL;
    for (; is_digit(*text); text++)
        if (seconds < SECONDS_MAX)
            seconds = 10 * seconds + (uint64_t)(*text - '0');
    if (parse_fraction(&text, &ns) < 0 || *text)
        return -EINVAL;
    if (seconds >= SECONDS_MAX)
        return -ERANGE;
    *ret_wall_ns = seconds * CB_NS_PER_S + ns;
    return 0;
}

int cb_wall_parse(const char *text, uint64_t *ret_wall_ns)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"};

    if (cb_wall_parse_epoch(text, ret_wall_ns) == 0)
        return 0;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm tm = {.tm_mday = 0};
        const char *end = strptime(text, forms[i], &tm);
        uint64_t ns = 0;
        time_t t;

        if (!end || parse_fraction(&end, &ns) < 0)
            continue;
        end += *end == 'Z';
        t = *end ? -1 : timegm(&tm);
        if (t >= 0 && (uint64_t)t < SECONDS_MAX) {
            *ret_wall_ns = (uint64_t)t * CB_NS_PER_S + ns;
            return 0;
        }
    }
    return -EINVAL;
}

uint64_t cb_wall_to_boot(const struct cb_store_moment *moment, uint64_t wall_ns)
{
    if (wall_ns >= moment->wall_ns)
        return moment->t1_ns + (wall_ns - moment->wall_ns);
    if (moment->wall_ns - wall_ns >= moment->t1_ns)
        return 0;
    return moment->t1_ns - (moment->wall_ns - wall_ns);
}
