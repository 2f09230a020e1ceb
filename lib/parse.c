/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c - see parse.h. */
#include "lib/parse.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits from *text on; *text moves behind them. */
static int take_u64(const char **text, uint64_t *ret_value)
{
    uint64_t value = 0;
    const char *p = *text;

    if (!is_digit(*p))
        return -EINVAL;
    for (; is_digit(*p); p++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return -ERANGE;
    }
    *text = p;
    *ret_value = value;
    return 0;
}

static bool at_end(const char *p)
{
    return *p == '\0' || (p[0] == '\n' && p[1] == '\0');
}

int cb_parse_u64(const char *text, uint64_t *ret_value)
{
    uint64_t value;
    int r = take_u64(&text, &value);

    if (r < 0) {
        /* Too many digits followed by rubbish is a wrong form first of all. */
        while (is_digit(*text))
            text++;
        return at_end(text) ? r : -EINVAL;
    }
    if (!at_end(text))
        return -EINVAL;
    *ret_value = value;
    return 0;
}

/* strtod depends on the locale's decimal point, so check the form here and require the C locale's
 * reading: none of the programs calls setlocale(). */
int cb_parse_double(const char *text, double *ret_value)
{
    const char *p = text;
    bool digits = false;

    if (*p == '+' || *p == '-')
        p++;
    for (; is_digit(*p); p++)
        digits = true;
    if (*p == '.')
        for (p++; is_digit(*p); p++)
            digits = true;
    if (!digits)
        return -EINVAL;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-')
            p++;
        if (!is_digit(*p))
            return -EINVAL;
        while (is_digit(*p))
            p++;
    }
    if (!at_end(p))
        return -EINVAL;

    double value = strtod(text, NULL);

    if (!isfinite(value))
        return -ERANGE;
    *ret_value = value;
    return 0;
}

int cb_parse_duration(const char *text, uint64_t *ret_ns)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1},   {"us", 1e3},   {"ms", 1e6},   {"s", 1e9},
                 {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
    char number[32];
    size_t n = strspn(text, "0123456789.");
    double value;

    if (n == 0 || n >= sizeof(number))
        return -EINVAL;
    memcpy(number, text, n);
    number[n] = '\0';
    if (cb_parse_double(number, &value) < 0)
        return -EINVAL;
    if (text[n] == '\0') {
        if (value != 0)
            return -EINVAL;
        *ret_ns = 0;
        return 0;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(text + n, units[i].unit) != 0)
            continue;
        double ns = value * units[i].ns;

        if (ns > 9.2e18)
            return -ERANGE;
        *ret_ns = (uint64_t)llround(ns);
        return 0;
    }
    return -EINVAL;
}

int cb_parse_cpulist(const char *text, uint8_t *set, size_t size, size_t *ret_count)
{
    size_t count = 0;

    memset(set, 0, size);
    while (!at_end(text)) {
        uint64_t first;
        uint64_t last;
        int r = take_u64(&text, &first);

        if (r < 0)
            return r;
        last = first;
        if (*text == '-') {
            text++;
            r = take_u64(&text, &last);
            if (r < 0)
                return r;
        }
        if (last < first)
            return -EINVAL;
        if (last >= size)
            return -ERANGE;
        for (uint64_t cpu = first; cpu <= last; cpu++) {
            count += !set[cpu];
            set[cpu] = 1;
        }
        if (*text == ',' && is_digit(text[1]))
            text++;
        else if (!at_end(text))
            return -EINVAL;
    }
    *ret_count = count;
    return 0;
}
