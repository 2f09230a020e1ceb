/* SPDX-License-Identifier: Apache-2.0 */
/* hwpc_text.c - see hwpc_text.h. */
#include "lib/hwpc_text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/err.h"

#define BOM "\xef\xbb\xbf"
#define COMPACT_FROM 65536 /* bytes that are done with, before the rest is moved */

enum place { OUTSIDE, FIRST_ELEMENT, AFTER_ELEMENT, AFTER_COMMA };

enum ending { COMPLETE, BROKEN, WRAPPER /* the '[' of {"reports":[ */ };

struct cb_hwpc_text {
    FILE *file;
    const char *name;
    bool strict;
    /* whole lines; [at, size) is not done with, `given` bytes of it are the caller's */
    char *text;
    size_t size, room, at, given;
    uint64_t line; /* of text[at], and how far right it is */
    size_t column;
    char *more;
    size_t more_room;
    enum place place;
    bool wrapped;
};

int cb_hwpc_text_new(FILE *file, const char *name, bool strict, struct cb_hwpc_text **ret_text,
                     struct cb_err *err)
{
    struct cb_hwpc_text *text = calloc(1, sizeof(*text));

    if (!text)
        return cb_err_set(err, ENOMEM, "out of memory for a reader of '%s'", name);
    text->file = file;
    text->name = name;
    text->strict = strict;
    *ret_text = text;
    return 0;
}

struct cb_hwpc_text *cb_hwpc_text_free(struct cb_hwpc_text *text)
{
    if (text) {
        free(text->text);
        free(text->more);
        free(text);
    }
    return NULL;
}

static int malformed(const struct cb_hwpc_text *text, const char *what, struct cb_err *err)
{
    return cb_err_set(err, EBADMSG, "%s:%" PRIu64 ": malformed JSON: %s", text->name, text->line,
                      what);
}

/* --- reading --- */

/* Append the next line. 0: there is none. */
static int read_line(struct cb_hwpc_text *text, struct cb_err *err)
{
    bool first = text->line == 0;
    size_t skip, n;
    ssize_t r;

    errno = 0;
    r = getline(&text->more, &text->more_room, text->file);
    if (r < 0 && errno == ENOMEM)
        return cb_err_set(err, ENOMEM, "out of memory for '%s'", text->name);
    if (r < 0 && ferror(text->file))
        return cb_err_set(err, EIO, "%s:%" PRIu64 ": cannot read", text->name, text->line + first);
    if (r < 0)
        return 0;
    text->line += first;
    skip = first && strncmp(text->more, BOM, strlen(BOM)) == 0 ? strlen(BOM) : 0;
    n = (size_t)r - skip;
    if (text->room - text->size < n) {
        size_t room = (text->size + n) * 2;
        char *grown = realloc(text->text, room);

        if (!grown)
            return cb_err_set(err, ENOMEM, "out of memory for '%s'", text->name);
        text->text = grown;
        text->room = room;
    }
    memcpy(text->text + text->size, text->more + skip, n);
    text->size += n;
    return 1;
}

static void advance(struct cb_hwpc_text *text, size_t n)
{
    for (size_t end = text->at + n; text->at < end; text->at++) {
        bool breaks = text->text[text->at] == '\n';

        text->line += breaks;
        text->column = breaks ? 0 : text->column + 1;
    }
}

/* Only between two documents: everything else remembers places. */
static void compact(struct cb_hwpc_text *text)
{
    if (text->at == 0 ||
        (text->at < text->size && (text->at < COMPACT_FROM || text->at < text->size / 2)))
        return;
    text->size -= text->at;
    memmove(text->text, text->text + text->at, text->size);
    text->at = 0;
}

/* 0: nothing but blanks is left. */
static int skip_blanks(struct cb_hwpc_text *text, struct cb_err *err)
{
    int r;

    for (;;) {
        while (text->at < text->size && memchr(" \t\r\n", text->text[text->at], 4))
            advance(text, 1);
        if (text->at < text->size)
            return 1;
        compact(text);
        r = read_line(text, err);
        if (r <= 0)
            return r;
    }
}

/* --- where a document ends --- */

/* The first place from @at on that is neither blank nor the end of something. */
static size_t line_content(const struct cb_hwpc_text *text, size_t at)
{
    while (at < text->size && memchr(" \t\r,]}", text->text[at], 6))
        at++;
    return at;
}

/* Does an object stand at @at, whole, and, with @as_report, with a report's time? */
static bool is_object(const struct cb_hwpc_text *text, size_t at, bool as_report)
{
    json_error_t error;
    json_t *object;
    bool is;

    if (at >= text->size || text->text[at] != '{')
        return false;
    object = json_loadb(text->text + at, text->size - at,
                        JSON_DISABLE_EOF_CHECK | JSON_DECODE_INT_AS_REAL, &error);
    is = object && (!as_report || json_object_get(object, "timestamp"));
    json_decref(object);
    return is;
}

/* The document at `at` is broken: where does the next one begin? */
static int find_next(struct cb_hwpc_text *text, size_t *ret_end, struct cb_err *err)
{
    size_t line = text->at, content;
    int r = 1;

    for (;;) {
        const char *end = memchr(text->text + line, '\n', text->size - line);

        line = end ? (size_t)(end - text->text) + 1 : text->size;
        if (line == text->size)
            r = read_line(text, err);
        if (r <= 0)
            break;
        content = line_content(text, line);
        if (content < text->size && text->text[content] == '{' &&
            (content - line <= text->column || is_object(text, content, false))) {
            line = content;
            break;
        }
    }
    *ret_end = line;
    return r < 0 ? r : 0;
}

/* Is the '[' at @at the value of "reports"? */
static bool opens_reports(const struct cb_hwpc_text *text, size_t at)
{
    static const char key[] = "\"reports\"";
    size_t n = strlen(key), i = at;

    while (i > text->at && memchr(" \t\r\n:", text->text[i - 1], 5))
        i--;
    return i - text->at >= n && memcmp(text->text + i - n, key, n) == 0;
}

/* From @depth open brackets on to the one that closes the last, or of a string to its end. A line
 * on which a report begins is in no other. *@ret_end: behind it. */
static int scan(struct cb_hwpc_text *text, size_t depth, size_t *ret_end, enum ending *ret_ending,
                struct cb_err *err)
{
    bool in_string = false, escaped = false;
    int r;

    *ret_ending = BROKEN;
    for (size_t i = text->at;; i++) {
        if (i == text->size) {
            r = read_line(text, err);
            if (r <= 0)
                return r;
        }
        char c = text->text[i];

        if (c == '\n') {
            r = i + 1 == text->size ? read_line(text, err) : 1;
            if (r <= 0 || in_string || is_object(text, line_content(text, i + 1), true))
                return r < 0 ? r : 0;
        } else if (escaped) {
            escaped = false;
        } else if (in_string && c == '\\') {
            escaped = true;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (!in_string && (c == '{' || c == '[')) {
            if (c == '[' && depth == 1 && text->place == OUTSIDE && opens_reports(text, i))
                *ret_ending = WRAPPER;
            depth++;
        } else if (!in_string && (c == '}' || c == ']')) {
            depth--;
        } else {
            continue;
        }
        if (*ret_ending != WRAPPER && depth == 0 && !in_string && c != '\n')
            *ret_ending = COMPLETE;
        if (*ret_ending != BROKEN) {
            *ret_end = i + 1;
            return 0;
        }
    }
}

/* What is neither object nor array nor string ends with its line, in an array with its element. */
static size_t end_of_word(const struct cb_hwpc_text *text)
{
    size_t i = text->at + 1;

    while (i < text->size && text->text[i] != '\n' &&
           (text->place == OUTSIDE || !memchr(",]", text->text[i], 2)))
        i++;
    return i;
}

/* --- documents --- */

/* After "]" of {"reports":[...]: what the object has beside it is nobody's. */
static int leave_wrapper(struct cb_hwpc_text *text, struct cb_err *err)
{
    enum ending ending;
    size_t end = text->size;
    int r = scan(text, 1, &end, &ending, err);

    if (r < 0)
        return r;
    if (ending != COMPLETE && text->strict)
        return malformed(text, "the object of \"reports\" does not end", err);
    advance(text, ending == COMPLETE ? end - text->at : 0);
    return 0;
}

static int take_separator(struct cb_hwpc_text *text, struct cb_err *err)
{
    bool closes = text->text[text->at] == ']';
    bool wrapped = text->wrapped;

    if (text->strict && (closes ? text->place == AFTER_COMMA : text->place != AFTER_ELEMENT))
        return malformed(text, "a comma without an element", err);
    advance(text, 1);
    text->place = closes ? OUTSIDE : AFTER_COMMA;
    text->wrapped = wrapped && !closes;
    return wrapped && closes ? leave_wrapper(text, err) : 0;
}

/* The document at `at`, which is no blank. *@ret_end is `at` when it was the head of an array. */
static int take_document(struct cb_hwpc_text *text, size_t *ret_end, struct cb_err *err)
{
    enum ending ending = COMPLETE;
    int r = 0;

    *ret_end = text->at;
    if (text->text[text->at] == '[' && text->place == OUTSIDE) {
        advance(text, 1);
        text->place = FIRST_ELEMENT;
        *ret_end = text->at;
        return 0;
    }
    if (text->strict && text->place == AFTER_ELEMENT)
        return malformed(text, "no comma between two elements", err);
    if (memchr("{[\"", text->text[text->at], 3))
        r = scan(text, 0, ret_end, &ending, err);
    else
        *ret_end = end_of_word(text);
    if (r == 0 && ending == BROKEN)
        r = find_next(text, ret_end, err);
    if (r < 0)
        return r;
    if (ending == WRAPPER) {
        advance(text, *ret_end - text->at);
        text->wrapped = true;
        text->place = FIRST_ELEMENT;
        *ret_end = text->at;
    } else if (text->place != OUTSIDE) {
        text->place = AFTER_ELEMENT;
    }
    return 0;
}

int cb_hwpc_text_next(struct cb_hwpc_text *text, struct cb_hwpc_document *ret_document,
                      struct cb_err *err)
{
    size_t end;
    int r;

    advance(text, text->given);
    text->given = 0;
    compact(text);
    for (;;) {
        r = skip_blanks(text, err);
        if (r == 0 && text->place != OUTSIDE && text->strict)
            return malformed(text, "the array does not end", err);
        if (r <= 0)
            break;
        if (text->place != OUTSIDE && memchr(",]", text->text[text->at], 2)) {
            r = take_separator(text, err);
            end = text->at;
        } else {
            r = take_document(text, &end, err);
        }
        if (r < 0)
            return r;
        if (end > text->at) {
            text->given = end - text->at;
            while (memchr(" \t\r\n", text->text[end - 1], 4))
                end--;
            *ret_document =
                (struct cb_hwpc_document){text->text + text->at, end - text->at, text->line};
            return 0;
        }
    }
    *ret_document = (struct cb_hwpc_document){0};
    return r;
}

bool cb_hwpc_text_in_array(const struct cb_hwpc_text *text)
{
    return text->place != OUTSIDE;
}
