/* SPDX-License-Identifier: Apache-2.0 */
/* config_file.c - see config_file.h. */
#include "lib/config_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "lib/config_private.h"
#include "lib/err.h"

#define MAX_DISTANCE 3 /* of a key that may have been meant */

struct reader {
    struct cb_config_file *file;
    const struct cb_opt *opts;
    const char *name;
    yaml_parser_t parser;
    cb_config_fault *fault;
    void *context;
    int faults;
    struct cb_err *err;
};

/* ---- faults ---- */

/* Tell a fault; the first is the error. Returns what ends the reading: 0 when more may be told. */
static int tell(struct reader *r, size_t line, const char *text)
{
    struct cb_err here = {0};

    (void)cb_err_set(&here, EINVAL, "%s:%zu: %s", r->name, line, text);
    if (r->faults++ == 0 && r->err)
        *r->err = here;
    if (!r->fault)
        return -EINVAL;
    r->fault(r->context, here.text);
    return 0;
}

static unsigned smallest(unsigned a, unsigned b, unsigned c)
{
    return a < b ? (a < c ? a : c) : (b < c ? b : c);
}

/* How many letters have to be changed, put in or taken out; at least MAX_DISTANCE + 1 for long
 * ones. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[64];
    size_t n = strlen(a), m = strlen(b);

    if (n >= 64 || m >= 64)
        return MAX_DISTANCE + 1;
    for (size_t j = 0; j <= m; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned before = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned above = row[j];

            row[j] = smallest(above + 1, row[j - 1] + 1, before + (a[i - 1] != b[j - 1]));
            before = above;
        }
    }
    return row[m];
}

static int tell_unknown(struct reader *r, size_t line, const char *key)
{
    const struct cb_opt *nearest = NULL;
    unsigned best = MAX_DISTANCE + 1;
    char text[256];

    for (const struct cb_opt *opt = r->opts; opt->key; opt++) {
        unsigned d = opt->cli_only ? best : distance(key, opt->key);

        if (d < best) {
            best = d;
            nearest = opt;
        }
    }
    (void)snprintf(text, sizeof(text), "unknown key '%.60s'%s%s%s", key,
                   nearest ? ": did you mean '" : "; --help lists them as options",
                   nearest ? nearest->key : "", nearest ? "'?" : "");
    return tell(r, line, text);
}

/* ---- entries ---- */

static const struct cb_opt *find(const struct reader *r, const char *key)
{
    for (const struct cb_opt *opt = r->opts; opt->key; opt++)
        if (strcmp(opt->key, key) == 0)
            return opt;
    return NULL;
}

static bool is_there(const struct reader *r, const struct cb_opt *opt)
{
    for (size_t i = 0; i < r->file->n; i++)
        if (r->file->entries[i].opt == opt)
            return true;
    return false;
}

static int add_entry(struct reader *r, const struct cb_opt *opt, const char *text, size_t line)
{
    struct cb_config_file *file = r->file;
    struct cb_config_entry *entry;

    if (file->n == file->room) {
        size_t room = file->room ? file->room * 2 : 32;
        struct cb_config_entry *more = realloc(file->entries, room * sizeof(*more));

        if (!more)
            return cb_err_set(r->err, ENOMEM, "out of memory");
        file->entries = more;
        file->room = room;
    }
    entry = &file->entries[file->n];
    *entry = (struct cb_config_entry){.opt = opt, .line = line, .text = strdup(text)};
    if (!entry->text)
        return cb_err_set(r->err, ENOMEM, "out of memory");
    file->n++;
    return 0;
}

/* Would the command line take it? */
static int check_value(struct reader *r, const struct cb_opt *opt, const char *text, size_t line)
{
    union {
        uint64_t u;
        double d;
        bool b;
        const char *s;
        struct cb_opt_list list;
    } nowhere = {0};
    struct cb_opt alone = *opt;
    struct cb_err why = {0};
    char key[80];

    alone.offset = 0;
    (void)snprintf(key, sizeof(key), "'%.60s'", opt->key);
    if (cb_config_set(&alone, key, text, &nowhere, &why) < 0)
        return tell(r, line, why.text);
    return add_entry(r, opt, text, line);
}

/* ---- YAML ---- */

static int next_event(struct reader *r, yaml_event_t *event)
{
    char text[256];

    if (yaml_parser_parse(&r->parser, event))
        return 0;
    (void)snprintf(text, sizeof(text), "not YAML: %s%s%s",
                   r->parser.problem ? r->parser.problem : "malformed",
                   r->parser.context ? ", " : "", r->parser.context ? r->parser.context : "");
    (void)tell(r, r->parser.problem_mark.line + 1, text);
    return -EINVAL; /* nothing more can be read after that */
}

static size_t line_of(const yaml_event_t *event)
{
    return event->start_mark.line + 1;
}

/* Read over what an event began. */
static int skip(struct reader *r, yaml_event_type_t type)
{
    int depth = type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT;

    while (depth > 0) {
        yaml_event_t event;
        int result = next_event(r, &event);

        if (result < 0)
            return result;
        if (event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT)
            depth++;
        if (event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT)
            depth--;
        yaml_event_delete(&event);
    }
    return 0;
}

/* The text of a scalar; NULL for anything else, and for one with a NUL byte or an anchor. */
static const char *text_of(const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;

    if (event->type != YAML_SCALAR_EVENT || event->data.scalar.anchor ||
        strlen(text) != event->data.scalar.length)
        return NULL;
    return text;
}

static bool is_null(const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;

    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static int tell_of(struct reader *r, size_t line, const struct cb_opt *opt, const char *what)
{
    char text[160];

    (void)snprintf(text, sizeof(text), "'%.60s' %s", opt->key, what);
    return tell(r, line, text);
}

/* One value, or one of a list; takes @event. */
static int take_scalar(struct reader *r, const struct cb_opt *opt, yaml_event_t *event)
{
    const char *text = text_of(event);
    yaml_event_type_t type = event->type;
    int result;

    if (!text)
        result = tell_of(r, line_of(event), opt,
                         opt->type == CB_OPT_LIST ? "wants values or a list of them"
                                                  : "wants one value");
    else if (is_null(event))
        result = tell_of(r, line_of(event), opt, "has no value: give one, or leave the key out");
    else
        result = check_value(r, opt, text, line_of(event));
    yaml_event_delete(event);
    return result < 0 ? result : skip(r, type);
}

static int take_list(struct reader *r, const struct cb_opt *opt)
{
    for (;;) {
        yaml_event_t event;
        int result = next_event(r, &event);

        if (result < 0)
            return result;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return 0;
        }
        result = take_scalar(r, opt, &event);
        if (result < 0)
            return result;
    }
}

static int take_value(struct reader *r, const struct cb_opt *opt)
{
    yaml_event_t event;
    int result = next_event(r, &event);

    if (result < 0)
        return result;
    if (opt && opt->type == CB_OPT_LIST && event.type == YAML_SEQUENCE_START_EVENT) {
        yaml_event_delete(&event);
        return take_list(r, opt);
    }
    if (opt)
        return take_scalar(r, opt, &event);
    result = skip(r, event.type);
    yaml_event_delete(&event);
    return result;
}

/* The row of a key, NULL when its value is to be read over. */
static int take_key(struct reader *r, const yaml_event_t *event, const struct cb_opt **ret_opt)
{
    const char *key = text_of(event);
    const struct cb_opt *opt = key ? find(r, key) : NULL;
    int result = 0;

    if (!key)
        result = tell(r, line_of(event), "a key is a plain word");
    else if (!opt)
        result = tell_unknown(r, line_of(event), key);
    else if (opt->cli_only)
        result = tell_of(r, line_of(event), opt, "is for the command line only");
    else if (is_there(r, opt))
        result = tell_of(r, line_of(event), opt, "is there twice: keep one");
    *ret_opt = result == 0 && opt && !opt->cli_only && !is_there(r, opt) ? opt : NULL;
    return result;
}

static int take_mapping(struct reader *r)
{
    for (;;) {
        const struct cb_opt *opt = NULL;
        yaml_event_t event;
        int result = next_event(r, &event);
        bool end;

        if (result < 0)
            return result;
        end = event.type == YAML_MAPPING_END_EVENT;
        if (!end)
            result = take_key(r, &event, &opt);
        if (!end && result == 0)
            result = skip(r, event.type);
        yaml_event_delete(&event);
        if (end || result < 0)
            return result;
        result = take_value(r, opt);
        if (result < 0)
            return result;
    }
}

/* What stands where the mapping should begin; an empty document has one scalar of nothing. */
static int take_content(struct reader *r, yaml_event_t *event)
{
    yaml_event_type_t type = event->type;
    size_t line = line_of(event);
    bool empty = type == YAML_SCALAR_EVENT && is_null(event);
    int result;

    if (type == YAML_MAPPING_START_EVENT)
        return take_mapping(r);
    if (empty)
        return 0;
    result = tell(r, line, "a configuration is lines of 'key: value'");
    return result < 0 ? result : skip(r, type);
}

static int take_stream(struct reader *r)
{
    int documents = 0;

    for (;;) {
        yaml_event_t event;
        int result = next_event(r, &event);
        yaml_event_type_t type = event.type;

        if (result < 0)
            return result;
        if (type == YAML_DOCUMENT_START_EVENT && documents++ == 1)
            result = tell(r, line_of(&event), "a second document: there is one only");
        else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
                 type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT)
            result = take_content(r, &event);
        yaml_event_delete(&event);
        if (result < 0 || type == YAML_STREAM_END_EVENT)
            return result;
    }
}

int cb_config_file_parse(const char *text, size_t size, const char *name, const struct cb_opt *opts,
                         cb_config_fault *fault, void *context, struct cb_config_file **ret_file,
                         struct cb_err *err)
{
    struct reader r = {.opts = opts, .name = name, .fault = fault, .context = context, .err = err};
    int result;

    r.file = calloc(1, sizeof(*r.file));
    if (r.file)
        r.file->name = strdup(name);
    if (!r.file || !r.file->name || !yaml_parser_initialize(&r.parser)) {
        (void)cb_config_file_free(r.file);
        return cb_err_set(err, ENOMEM, "out of memory");
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    result = take_stream(&r);
    yaml_parser_delete(&r.parser);
    if (result == 0 && r.faults)
        result = -EINVAL;
    if (result < 0)
        (void)cb_config_file_free(r.file);
    else
        *ret_file = r.file;
    return result;
}

int cb_config_file_read(const char *path, const struct cb_opt *opts, cb_config_fault *fault,
                        void *context, struct cb_config_file **ret_file, struct cb_err *err)
{
    cb_auto_free char *text = malloc(CB_CONFIG_FILE_MAX + 1);
    FILE *in = fopen(path, "re");
    size_t size;
    int failed;

    if (!in)
        return cb_err_set(err, errno, "cannot read '%.200s': %s", path, strerror(errno));
    errno = 0;
    size = text ? fread(text, 1, CB_CONFIG_FILE_MAX + 1, in) : 0;
    failed = ferror(in) ? (errno ? errno : EIO) : 0;
    (void)fclose(in);
    if (!text)
        return cb_err_set(err, ENOMEM, "out of memory");
    if (failed)
        return cb_err_set(err, failed, "cannot read '%.200s': %s", path, strerror(failed));
    if (size > CB_CONFIG_FILE_MAX)
        return cb_err_set(err, EFBIG, "'%.200s' is longer than %u bytes", path, CB_CONFIG_FILE_MAX);
    return cb_config_file_parse(text, size, path, opts, fault, context, ret_file, err);
}

struct cb_config_file *cb_config_file_free(struct cb_config_file *file)
{
    for (size_t i = 0; file && i < file->n; i++)
        free(file->entries[i].text);
    if (file) {
        free(file->entries);
        free(file->name);
    }
    free(file);
    return NULL;
}

/* ---- printing ---- */

/* In single quotes, in which only they themselves are doubled; control characters need double ones.
 */
static void print_quoted(FILE *out, const char *text)
{
    bool plain = true;

    for (const char *p = text; *p; p++)
        plain = plain && (unsigned char)*p >= 0x20 && *p != 0x7f;
    (void)fputc(plain ? '\'' : '"', out);
    for (const char *p = text; *p; p++) {
        if (plain)
            (void)fprintf(out, *p == '\'' ? "''" : "%c", *p);
        else if ((unsigned char)*p < 0x20 || *p == 0x7f)
            (void)fprintf(out, "\\x%02x", (unsigned char)*p);
        else
            (void)fprintf(out, strchr("\"\\", *p) ? "\\%c" : "%c", *p);
    }
    (void)fputc(plain ? '\'' : '"', out);
}

static void print_row(FILE *out, const struct cb_opt *opt, const void *from)
{
    char text[64];

    (void)fprintf(out, "%s: ", opt->key);
    if (opt->type == CB_OPT_STRING) {
        print_quoted(out, *(const char *const *)from);
    } else if (opt->type == CB_OPT_LIST) {
        const struct cb_opt_list *list = from;

        (void)fputc('[', out);
        for (size_t i = 0; i < list->n; i++) {
            (void)fputs(i ? ", " : "", out);
            print_quoted(out, list->at[i]);
        }
        (void)fputc(']', out);
    } else {
        cb_config_format(opt, from, text, sizeof(text));
        (void)fputs(text, out);
    }
    (void)fputc('\n', out);
}

void cb_config_file_print(FILE *out, const struct cb_opt *opts, const void *config)
{
    for (const struct cb_opt *opt = opts; opt->key; opt++) {
        const void *from = (const char *)config + opt->offset;

        if (opt->cli_only)
            continue;
        if (opt->secret)
            (void)fprintf(out, "# %s: (secret)\n", opt->key);
        else if (opt->type == CB_OPT_STRING && !*(const char *const *)from)
            (void)fprintf(out, "# %s:\n", opt->key);
        else
            print_row(out, opt, from);
    }
}
