/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - see table.h. */
#include "tester/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>

struct cb_table {
    size_t n_columns; /* the label is one more, at index 0 */
    size_t n_rows, capacity;
    char **texts; /* texts[row * (n_columns + 1) + column]; NULL: empty */
    bool no_memory;
};

struct cb_table *cb_table_new(size_t n_columns)
{
    struct cb_table *table = calloc(1, sizeof(*table));

    if (table)
        table->n_columns = n_columns;
    return table;
}

struct cb_table *cb_table_free(struct cb_table *table)
{
    if (table) {
        for (size_t i = 0; i < table->n_rows * (table->n_columns + 1); i++)
            free(table->texts[i]);
        free(table->texts);
        free(table);
    }
    return NULL;
}

__attribute__((format(printf, 3, 0))) static void set(struct cb_table *table, size_t column,
                                                      const char *fmt, va_list ap)
{
    char **cell = &table->texts[(table->n_rows - 1) * (table->n_columns + 1) + column];
    char *text;

    if (vasprintf(&text, fmt, ap) < 0) {
        table->no_memory = true;
        return;
    }
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    free(*cell);
    *cell = text;
}

void cb_table_row(struct cb_table *table, const char *fmt, ...)
{
    size_t width = table->n_columns + 1;
    va_list ap;

    if (table->n_rows == table->capacity) {
        size_t capacity = table->capacity ? table->capacity * 2 : 32;
        char **texts = realloc(table->texts, capacity * width * sizeof(*texts));

        if (!texts) {
            table->no_memory = true;
            return;
        }
        table->texts = texts;
        table->capacity = capacity;
    }
    memset(table->texts + table->n_rows * width, 0, width * sizeof(*table->texts));
    table->n_rows++;
    va_start(ap, fmt);
    set(table, 0, fmt, ap);
    va_end(ap);
}

void cb_table_set(struct cb_table *table, size_t column, const char *fmt, ...)
{
    va_list ap;

    if (table->no_memory)
        return;
    va_start(ap, fmt);
    set(table, column + 1, fmt, ap);
    va_end(ap);
}

/* Characters of UTF-8, as near to columns of a terminal as it needs to be here. */
static size_t text_width(const char *text)
{
    size_t n = 0;

    for (; text && *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void pad(FILE *out, size_t n)
{
    for (; n > 0; n--)
        (void)fputc(' ', out);
}

static size_t column_width(const struct cb_table *table, size_t column)
{
    size_t widest = 0;

    for (size_t row = 0; row < table->n_rows; row++) {
        size_t width = text_width(table->texts[row * (table->n_columns + 1) + column]);

        if (width > widest)
            widest = width;
    }
    return widest;
}

static void print_row(const struct cb_table *table, char *const *texts, const size_t *widths,
                      FILE *out)
{
    size_t last = table->n_columns;
    size_t blanks;

    while (last > 0 && !texts[last])
        last--;
    (void)fputs(texts[0] ? texts[0] : "", out);
    blanks = widths[0] - text_width(texts[0]);
    for (size_t column = 1; column <= last; column++) {
        pad(out, blanks + 2 + widths[column] - text_width(texts[column]));
        (void)fputs(texts[column] ? texts[column] : "", out);
        blanks = 0;
    }
    (void)fputc('\n', out);
}

int cb_table_print(const struct cb_table *table, FILE *out)
{
    cb_auto_free size_t *widths = calloc(table->n_columns + 1, sizeof(*widths));

    if (table->no_memory || !widths)
        return -ENOMEM;
    for (size_t column = 0; column <= table->n_columns; column++)
        widths[column] = column_width(table, column);
    for (size_t row = 0; row < table->n_rows; row++)
        print_row(table, table->texts + row * (table->n_columns + 1), widths, out);
    return 0;
}
