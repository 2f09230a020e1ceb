/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - see config.h. */
#include "lib/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/config_private.h"
#include "lib/err.h"
#include "lib/parse.h"

#define ENV_NAME_MAX 64
#define HELP_COLUMN 30
#define HELP_WIDTH 80

static void *member(void *config, const struct cb_opt *opt)
{
    return (char *)config + opt->offset;
}

static bool in_range(const struct cb_opt *opt, double value)
{
    return (opt->min == 0 && opt->max == 0) || (value >= opt->min && value <= opt->max);
}

static void format_value(char *text, size_t size, const struct cb_opt *opt, double value)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"h", 3600e9}, {"m", 60e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}};

    if (opt->type == CB_OPT_DURATION)
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
            if (value >= units[i].ns) {
                (void)snprintf(text, size, "%.12g%s", value / units[i].ns, units[i].unit);
                return;
            }
    (void)snprintf(text, size, opt->type == CB_OPT_DURATION && value > 0 ? "%gns" : "%.15g", value);
}

static int range_error(const struct cb_opt *opt, const char *where, const char *text,
                       struct cb_err *err)
{
    char low[32];
    char high[32];

    format_value(low, sizeof(low), opt, opt->min);
    format_value(high, sizeof(high), opt, opt->max);
    return cb_err_set(err, EINVAL, "%s: '%.60s' is out of range, allowed is %s to %s", where, text,
                      low, high);
}

static int set_bool(const struct cb_opt *opt, const char *where, const char *text, bool *ret,
                    struct cb_err *err)
{
    static const char *const words[] = {"0", "false", "no", "off", "1", "true", "yes", "on"};

    (void)opt;
    for (size_t i = 0; i < 8; i++)
        if (strcmp(text, words[i]) == 0) {
            *ret = i >= 4;
            return 0;
        }
    return cb_err_set(err, EINVAL, "%s: '%.60s' is not yes or no", where, text);
}

int cb_config_set(const struct cb_opt *opt, const char *where, const char *text, void *config,
                  struct cb_err *err)
{
    void *to = member(config, opt);
    uint64_t u;
    double d;

    switch (opt->type) {
    case CB_OPT_BOOL:
        return set_bool(opt, where, text, to, err);
    case CB_OPT_U64:
        if (cb_parse_u64(text, &u) < 0)
            return cb_err_set(err, EINVAL, "%s: '%.60s' is not a whole number", where, text);
        if (!in_range(opt, (double)u))
            return range_error(opt, where, text, err);
        *(uint64_t *)to = u;
        return 0;
    case CB_OPT_DOUBLE:
        if (cb_parse_double(text, &d) < 0)
            return cb_err_set(err, EINVAL, "%s: '%.60s' is not a number", where, text);
        if (!in_range(opt, d))
            return range_error(opt, where, text, err);
        *(double *)to = d;
        return 0;
    case CB_OPT_DURATION:
        if (cb_parse_duration(text, &u) < 0)
            return cb_err_set(err, EINVAL, "%s: '%.60s' is not a duration such as 250ms, 1s or 5m",
                              where, text);
        if (!in_range(opt, (double)u))
            return range_error(opt, where, text, err);
        *(uint64_t *)to = u;
        return 0;
    case CB_OPT_STRING:
        *(const char **)to = text;
        return 0;
    case CB_OPT_LIST: {
        struct cb_opt_list *list = to;

        if (list->n == CB_OPT_LIST_MAX)
            return cb_err_set(err, EINVAL, "%s: given more than %d times", where, CB_OPT_LIST_MAX);
        list->at[list->n++] = text;
        return 0;
    }
    }
    return cb_err_set(err, EINVAL, "%s: unknown type", where);
}

static const char *env_name(const struct cb_opt *opt, const char *prefix, char name[ENV_NAME_MAX])
{
    if (opt->env)
        return opt->env;
    if (!prefix)
        return NULL;
    (void)snprintf(name, ENV_NAME_MAX, "%s_%s", prefix, opt->key);
    for (char *p = name; *p; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    return name;
}

static bool is_in(const struct cb_config_file *file, const struct cb_opt *opt)
{
    for (size_t i = 0; file && i < file->n; i++)
        if (file->entries[i].opt == opt)
            return true;
    return false;
}

static int set_from_file(const struct cb_opt *opt, const struct cb_config_file *file, void *config,
                         struct cb_err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < file->n; i++) {
        const struct cb_config_entry *entry = &file->entries[i];
        char where[160];

        if (entry->opt != opt)
            continue;
        (void)snprintf(where, sizeof(where), "%.100s:%zu: '%s'", file->name, entry->line, opt->key);
        r = cb_config_set(opt, where, entry->text, config, err);
    }
    return r;
}

/* A list is what the last stage says that says anything; numbers and texts are set again. */
static int set_row(const struct cb_opt *opt, const char *prefix, const struct cb_config_file *file,
                   void *config, struct cb_err *err)
{
    char name[ENV_NAME_MAX];
    char where[ENV_NAME_MAX + 16];
    bool action = opt->cli_only && opt->type == CB_OPT_BOOL;
    const char *variable = action ? NULL : env_name(opt, prefix, name);
    const char *text = variable ? getenv(variable) : NULL;
    bool list = opt->type == CB_OPT_LIST;
    int r = 0;

    if (text && !*text)
        text = NULL; /* an empty variable is an unset one */
    if (opt->def && !(list && (text || is_in(file, opt))))
        r = cb_config_set(opt, opt->key, opt->def, config, err);
    if (r == 0 && file && !(list && text))
        r = set_from_file(opt, file, config, err);
    if (r == 0 && text) {
        (void)snprintf(where, sizeof(where), "environment %s", variable);
        r = cb_config_set(opt, where, text, config, err);
    }
    return r;
}

static const struct cb_opt *find_long(const struct cb_opt *opts, const char *key, size_t n,
                                      bool *ret_negated)
{
    for (const struct cb_opt *opt = opts; opt->key; opt++) {
        if (strlen(opt->key) == n && strncmp(opt->key, key, n) == 0) {
            *ret_negated = false;
            return opt;
        }
        if (opt->type == CB_OPT_BOOL && n > 3 && strncmp(key, "no-", 3) == 0 &&
            strlen(opt->key) == n - 3 && strncmp(opt->key, key + 3, n - 3) == 0) {
            *ret_negated = true;
            return opt;
        }
    }
    return NULL;
}

static const struct cb_opt *find_short(const struct cb_opt *opts, char key)
{
    for (const struct cb_opt *opt = opts; opt->key; opt++)
        if (opt->short_key == key)
            return opt;
    return NULL;
}

/* The command line's first replaces the list of the stages before. */
static void drop_earlier_list(const struct cb_opt *opt, bool *given, void *config)
{
    if (opt->type == CB_OPT_LIST && !*given)
        ((struct cb_opt_list *)member(config, opt))->n = 0;
    *given = true;
}

/* @given: which rows the command line has had. */
static int parse_one(const struct cb_opt *opts, char **argv, int *i, bool *given, void *config,
                     struct cb_err *err)
{
    const char *arg = argv[*i];
    const char *value = NULL;
    const struct cb_opt *opt;
    bool negated = false;

    if (arg[1] == '-') {
        const char *equals = strchr(arg, '=');
        size_t n = equals ? (size_t)(equals - arg - 2) : strlen(arg + 2);

        opt = find_long(opts, arg + 2, n, &negated);
        value = equals ? equals + 1 : NULL;
    } else {
        opt = find_short(opts, arg[1]);
        value = arg[2] ? arg + 2 : NULL;
        if (opt && opt->type == CB_OPT_BOOL && value)
            opt = NULL;
    }
    if (!opt)
        return cb_err_set(err, EINVAL, "unknown option '%.60s', see --help", arg);
    if (opt->type == CB_OPT_BOOL && !value) {
        *(bool *)member(config, opt) = !negated;
        (*i)++;
        return 0;
    }
    if (negated)
        return cb_err_set(err, EINVAL, "option '%.60s' takes no value", arg);
    if (!value) {
        value = argv[*i + 1];
        if (!value)
            return cb_err_set(err, EINVAL, "option '%.60s' needs a value: %s", arg,
                              opt->arg ? opt->arg : "VALUE");
        (*i)++;
    }
    (*i)++;
    drop_earlier_list(opt, &given[opt - opts], config);

    char where[64];

    (void)snprintf(where, sizeof(where), "option --%s", opt->key);
    return cb_config_set(opt, where, value, config, err);
}

int cb_config_parse_with(const struct cb_opt *opts, const char *env_prefix,
                         const struct cb_config_file *file, int argc, char **argv, void *config,
                         int *ret_next, struct cb_err *err)
{
    bool given[CB_OPT_MAX] = {false};
    int r = 0;
    int i = 1;

    for (const struct cb_opt *opt = opts; r == 0 && opt->key; opt++)
        r = set_row(opt, env_prefix, file, config, err);
    while (r == 0 && i < argc && argv[i][0] == '-' && argv[i][1] != '\0') {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        r = parse_one(opts, argv, &i, given, config, err);
    }
    if (r == 0)
        *ret_next = i;
    return r;
}

int cb_config_parse(const struct cb_opt *opts, const char *env_prefix, int argc, char **argv,
                    void *config, int *ret_next, struct cb_err *err)
{
    return cb_config_parse_with(opts, env_prefix, NULL, argc, argv, config, ret_next, err);
}

/* One help text, wrapped, from column HELP_COLUMN on. */
static void print_wrapped(FILE *out, const char *text)
{
    int column = HELP_COLUMN;

    while (*text) {
        size_t n = strcspn(text, " ");

        if (column > HELP_COLUMN && column + 1 + (int)n > HELP_WIDTH) {
            (void)fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        }
        if (column > HELP_COLUMN) {
            (void)fputc(' ', out);
            column++;
        }
        (void)fprintf(out, "%.*s", (int)n, text);
        column += (int)n;
        text += n;
        text += strspn(text, " ");
    }
    (void)fputc('\n', out);
}

void cb_config_help(FILE *out, const struct cb_opt *opts, const char *env_prefix)
{
    for (const struct cb_opt *opt = opts; opt->key; opt++) {
        char left[64];
        char text[512];
        char name[ENV_NAME_MAX];
        char key[8] = "    ";
        const char *variable = env_name(opt, env_prefix, name);
        int n;

        if (opt->short_key)
            (void)snprintf(key, sizeof(key), "-%c, ", opt->short_key);
        n = snprintf(left, sizeof(left), "  %s--%s%s%s", key, opt->key,
                     opt->type == CB_OPT_BOOL ? "" : " ",
                     opt->type == CB_OPT_BOOL ? "" : (opt->arg ? opt->arg : "VALUE"));
        (void)snprintf(text, sizeof(text), "%s%s%s%s%s%s", opt->help, opt->def ? " (default " : "",
                       opt->def ? opt->def : "", opt->def ? ")" : "",
                       opt->env ? "; environment " : "", opt->env && variable ? variable : "");
        (void)fputs(left, out);
        if (n < HELP_COLUMN - 1)
            (void)fprintf(out, "%*s", HELP_COLUMN - n, "");
        else
            (void)fprintf(out, "\n%*s", HELP_COLUMN, "");
        print_wrapped(out, text);
    }
}

void cb_config_format(const struct cb_opt *opt, const void *from, char *ret_text, size_t size)
{
    switch (opt->type) {
    case CB_OPT_BOOL:
        (void)snprintf(ret_text, size, "%s", *(const bool *)from ? "yes" : "no");
        break;
    case CB_OPT_U64:
        (void)snprintf(ret_text, size, "%" PRIu64, *(const uint64_t *)from);
        break;
    case CB_OPT_DOUBLE:
        (void)snprintf(ret_text, size, "%.15g", *(const double *)from);
        break;
    case CB_OPT_DURATION:
        format_value(ret_text, size, opt, (double)*(const uint64_t *)from);
        break;
    case CB_OPT_STRING:
    case CB_OPT_LIST:
        *ret_text = '\0';
    }
}

void cb_config_print(FILE *out, const struct cb_opt *opts, const void *config)
{
    for (const struct cb_opt *opt = opts; opt->key; opt++) {
        const void *from = (const char *)config + opt->offset;
        char text[64];

        if (opt->secret) {
            (void)fprintf(out, "%s = (secret)\n", opt->key);
        } else if (opt->type == CB_OPT_STRING) {
            const char *value = *(const char *const *)from;

            (void)fprintf(out, "%s = %s\n", opt->key, value ? value : "");
        } else if (opt->type == CB_OPT_LIST) {
            const struct cb_opt_list *list = from;

            (void)fprintf(out, "%s =", opt->key);
            for (size_t i = 0; i < list->n; i++)
                (void)fprintf(out, " %s", list->at[i]);
            (void)fputc('\n', out);
        } else {
            cb_config_format(opt, from, text, sizeof(text));
            (void)fprintf(out, "%s = %s\n", opt->key, text);
        }
    }
}
