/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_parse.c - see metrics_parse.h. */
#include "sensor/metrics_parse.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define NO_LIMIT (UINT64_C(1) << 62) /* v1 writes 2^63 less a page */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The number at @text, which a blank, a line's end or the text's end must follow. */
static bool number_at(const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;
    const char *p = text;

    for (; is_digit(*p); p++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return false;
    if (p == text || (*p != ' ' && *p != '\n' && *p != '\0'))
        return false;
    *ret_value = value;
    return true;
}

static const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return *line ? line + 1 : line;
}

/* Behind the blanks at @text, in its line. */
static const char *skip_blanks(const char *text)
{
    return text + strspn(text, " ");
}

/* Behind @word when @text begins with it, else NULL. */
static const char *after(const char *text, const char *word)
{
    size_t n = strlen(word);

    return strncmp(text, word, n) == 0 ? text + n : NULL;
}

static void set_zero(const struct cb_metrics_key *keys, uint64_t *values)
{
    for (; keys->times; keys++)
        values[keys->metric] = 0;
}

void cb_metrics_parse_number(const char *text, const struct cb_metrics_key *keys, uint64_t *values)
{
    uint64_t value;

    if (number_at(text, &value) && value < NO_LIMIT) /* "max" is no number */
        values[keys->metric] = value * keys->times;
}

void cb_metrics_parse_keyed(const char *text, const struct cb_metrics_key *keys, uint64_t *values)
{
    for (const char *line = text; *line; line = next_line(line))
        for (const struct cb_metrics_key *key = keys; key->times; key++) {
            const char *p = after(line, key->word);
            uint64_t value;

            if (p && *p == ' ' && number_at(p + 1, &value))
                values[key->metric] = value * key->times;
        }
}

void cb_metrics_parse_nested(const char *text, const struct cb_metrics_key *keys, uint64_t *values)
{
    set_zero(keys, values);
    for (const char *line = text; *line; line = next_line(line)) {
        const char *p = line + strcspn(line, " \n");

        for (p = skip_blanks(p); *p && *p != '\n'; p = skip_blanks(p + strcspn(p, " \n")))
            for (const struct cb_metrics_key *key = keys; key->times; key++) {
                const char *q = after(p, key->word);
                uint64_t value;

                if (q && *q == '=' && number_at(q + 1, &value))
                    values[key->metric] += value * key->times;
            }
    }
}

void cb_metrics_parse_blkio(const char *text, const struct cb_metrics_key *keys, uint64_t *values)
{
    bool seen = false;

    for (const char *line = text; *line; line = next_line(line)) {
        const char *p = skip_blanks(line + strcspn(line, " \n"));

        if (!is_digit(*line))
            continue;
        if (!seen)
            set_zero(keys, values);
        seen = true;
        for (const struct cb_metrics_key *key = keys; key->times; key++) {
            const char *q = after(p, key->word);
            uint64_t value;

            if (q && *q == ' ' && number_at(q + 1, &value))
                values[key->metric] += value * key->times;
        }
    }
}

void cb_metrics_parse_pressure(const char *text, const struct cb_metrics_key *keys,
                               uint64_t *values)
{
    for (const char *line = text; *line; line = next_line(line))
        for (const struct cb_metrics_key *key = keys; key->times; key++) {
            size_t n = strcspn(line, "\n");
            const char *p = after(line, key->word);
            const char *total = p && *p == ' ' ? memmem(line, n, " total=", 7) : NULL;
            uint64_t value;

            if (total && number_at(total + 7, &value))
                values[key->metric] = value * key->times;
        }
}

/* The columns of net/dev, in their order. */
static const char *const net_columns[] = {"rx_bytes", "rx_packets", NULL, NULL,       NULL,
                                          NULL,       NULL,         NULL, "tx_bytes", "tx_packets"};
#define N_NET_COLUMNS (sizeof(net_columns) / sizeof(net_columns[0]))

static void add_interface(const char *columns, const struct cb_metrics_key *keys, uint64_t *values)
{
    const char *p = skip_blanks(columns);

    for (size_t i = 0; i < N_NET_COLUMNS && *p && *p != '\n'; i++) {
        uint64_t value;

        for (const struct cb_metrics_key *key = keys; key->times; key++)
            if (net_columns[i] && strcmp(key->word, net_columns[i]) == 0 && number_at(p, &value))
                values[key->metric] += value * key->times;
        p = skip_blanks(p + strcspn(p, " \n"));
    }
}

void cb_metrics_parse_netdev(const char *text, const struct cb_metrics_key *keys, uint64_t *values)
{
    set_zero(keys, values);
    for (const char *line = text; *line; line = next_line(line)) {
        const char *name = skip_blanks(line);
        size_t n = strcspn(name, ":|\n");

        /* the two heading lines have '|' and no ':' before it */
        if (name[n] == ':' && !(n == 2 && strncmp(name, "lo", 2) == 0))
            add_interface(name + n + 1, keys, values);
    }
}
