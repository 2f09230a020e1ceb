/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_line_protocol.c - any texts as tags and fields make one line that a reader of the protocol
 * takes apart into the same texts, but for what the protocol cannot say. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "formula/line.h"

/* The next text of the input, up to a NUL. */
static char *next_text(const uint8_t **data, size_t *size)
{
    size_t n = strnlen((const char *)*data, *size);
    char *text = malloc(n + 1);

    assert(text);
    memcpy(text, *data, n);
    text[n] = '\0';
    *data += n;
    *size -= n;
    if (*size) {
        ++*data;
        --*size;
    }
    return text;
}

/* As InfluxDB 1.x reads: up to a separator that no backslash stands before. */
static size_t scan(const char *at, const char *end, char *ret)
{
    const char *p = at;

    for (; p < end && !(strchr(", =", *p) && (p == at || p[-1] != '\\')); p++)
        if (!(*p == '\\' && p + 1 < end && strchr(", =", p[1])))
            *ret++ = *p;
    *ret = '\0';
    return (size_t)(p - at);
}

static void expect(char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f || (text[i] == '\\' && i == n - 1))
            text[i] = '_';
}

static const char *check_tag(const char *at, const char *end, const char *key, const char *text,
                             char *scratch)
{
    if (!text[0])
        return at;
    assert(*at == ',');
    at++;
    at += scan(at, end, scratch);
    assert(strcmp(scratch, key) == 0 && *at == '=');
    at++;
    at += scan(at, end, scratch);
    assert(strcmp(scratch, text) == 0);
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *one = next_text(&data, &size);
    char *two = next_text(&data, &size);
    char *field = next_text(&data, &size);
    struct cb_batch batch = {0};
    struct cb_line line;
    char *scratch;
    const char *at;
    const char *end;

    cb_line_begin(&line, &batch, "m");
    cb_line_tag(&line, "one", one);
    cb_line_tag(&line, "two", two);
    cb_line_text(&line, "field", field);
    cb_line_end(&line, 1);
    assert(!batch.failed && batch.rows == 1);
    end = batch.bytes + batch.size;
    scratch = malloc(batch.size + 1);
    assert(scratch);
    assert(memchr(batch.bytes, '\n', batch.size) == end - 1); /* one line */
    expect(one);
    expect(two);
    at = check_tag(batch.bytes + 1, end, "one", one, scratch);
    at = check_tag(at, end, "two", two, scratch);
    assert(strncmp(at, " field=\"", 8) == 0);
    at += 8;
    for (const char *p = field; *p; p++, at++) {
        bool control = (unsigned char)*p < 0x20 || *p == 0x7f;

        if (*at == '\\')
            at++;
        assert(*at == (control ? '_' : *p));
    }
    assert(end - at == 4 && memcmp(at, "\" 1\n", 4) == 0);
    free(scratch);
    cb_batch_clear(&batch);
    free(one);
    free(two);
    free(field);
    return 0;
}
