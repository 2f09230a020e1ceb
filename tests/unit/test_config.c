/* SPDX-License-Identifier: Apache-2.0 */
/* test_config.c - lib/config: one table feeds flags, environment, help and what is printed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/config.h"
#include "lib/err.h"

struct config {
    bool lock, json, version;
    uint64_t number, tick_ns;
    double ratio;
    const char *name, *secret, *url;
    struct cb_opt_list events;
};

#define AT(member) offsetof(struct config, member)

static const struct cb_opt table[] = {
    {.key = "lock", .type = CB_OPT_BOOL, .offset = AT(lock), .def = "yes", .help = "hold the lock"},
    {.key = "json", .short_key = 'j', .type = CB_OPT_BOOL, .offset = AT(json), .help = "as JSON"},
    {.key = "number",
     .short_key = 'n',
     .type = CB_OPT_U64,
     .offset = AT(number),
     .def = "7",
     .min = 1,
     .max = 100,
     .arg = "N",
     .help = "how many of them there are, in words that are long enough to be wrapped somewhere"},
    {.key = "tick",
     .type = CB_OPT_DURATION,
     .offset = AT(tick_ns),
     .def = "1s",
     .min = 1e6,
     .max = 60e9,
     .arg = "DURATION",
     .help = "length of a tick"},
    {.key = "ratio", .type = CB_OPT_DOUBLE, .offset = AT(ratio), .def = "0.5", .help = "a part"},
    {.key = "long-name", .type = CB_OPT_STRING, .offset = AT(name), .help = "what it is called"},
    {.key = "secret", .secret = true, .type = CB_OPT_STRING, .offset = AT(secret), .help = "shh"},
    {.key = "url",
     .type = CB_OPT_STRING,
     .offset = AT(url),
     .def = "http://x",
     .env = "TEST_CONFIG_OWN_URL",
     .help = "where"},
    {.key = "event", .type = CB_OPT_LIST, .offset = AT(events), .def = "all", .help = "what"},
    {.key = "version", .cli_only = true, .type = CB_OPT_BOOL, .offset = AT(version), .help = "it"},
    {.key = NULL},
};

static int setup(void **state)
{
    (void)state;
    (void)unsetenv("TESTCFG_NUMBER");
    (void)unsetenv("TESTCFG_LONG_NAME");
    (void)unsetenv("TESTCFG_EVENT");
    (void)unsetenv("TESTCFG_LOCK");
    (void)unsetenv("TEST_CONFIG_OWN_URL");
    return 0;
}

#define MAX_ARGS 8

/* Parse a command line; the number of words that were options, or -EINVAL. */
static int parse(struct config *config, struct cb_err *err, ...)
{
    char *argv[MAX_ARGS + 2] = {strdup("program")};
    int argc = 1;
    int next = -1;
    va_list ap;
    int r;

    va_start(ap, err);
    for (const char *word; argc <= MAX_ARGS && (word = va_arg(ap, const char *));)
        argv[argc++] = (char *)(uintptr_t)word;
    va_end(ap);
    *config = (struct config){0};
    *err = (struct cb_err){0};
    r = cb_config_parse(table, "TESTCFG", argc, argv, config, &next, err);
    free(argv[0]);
    if (r < 0)
        assert_int_equal(next, -1);
    return r < 0 ? r : next - 1;
}

static void without_words_the_defaults_hold(void **state)
{
    struct config c;
    struct cb_err err;

    (void)state;
    assert_int_equal(parse(&c, &err, NULL), 0);
    assert_true(c.lock);
    assert_false(c.json);
    assert_int_equal(c.number, 7);
    assert_int_equal(c.tick_ns, 1000000000);
    assert_true(c.ratio == 0.5);
    assert_null(c.name);
    assert_string_equal(c.url, "http://x");
    assert_int_equal(c.events.n, 1);
    assert_string_equal(c.events.at[0], "all");
}

static void every_form_of_an_option_is_understood(void **state)
{
    struct config c;
    struct cb_err err;

    (void)state;
    assert_int_equal(parse(&c, &err, "--number", "8", "--no-lock", "-j", "--tick=250ms", NULL), 5);
    assert_int_equal(c.number, 8);
    assert_false(c.lock);
    assert_true(c.json);
    assert_int_equal(c.tick_ns, 250000000);
    assert_int_equal(parse(&c, &err, "-n9", "--long-name=", "--json=no", "--lock=off", NULL), 4);
    assert_int_equal(c.number, 9);
    assert_string_equal(c.name, "");
    assert_false(c.json);
    assert_false(c.lock);
    assert_int_equal(parse(&c, &err, "-n", "10", "--long-name", "--json", NULL), 4);
    assert_string_equal(c.name, "--json"); /* a value may look like an option */
    assert_int_equal(parse(&c, &err, "-n", "11", "--number=12", NULL), 3);
    assert_int_equal(c.number, 12); /* the last one holds */
}

static void what_is_no_option_ends_them(void **state)
{
    struct config c;
    struct cb_err err;

    (void)state;
    assert_int_equal(parse(&c, &err, "-j", "image", "--number", "8", NULL), 1);
    assert_int_equal(c.number, 7);
    assert_int_equal(parse(&c, &err, "-j", "--", "--number", "8", NULL), 2);
    assert_int_equal(c.number, 7);
    assert_int_equal(parse(&c, &err, "-", "-j", NULL), 0);
    assert_false(c.json);
}

/* Who packs a program up has such a variable, and it says what it says: "1.2". */
static void an_action_is_not_for_the_environment(void **state)
{
    struct config c;
    struct cb_err err;

    (void)state;
    (void)setenv("TESTCFG_VERSION", "0.1.0", 1);
    assert_int_equal(parse(&c, &err, NULL), 0);
    (void)setenv("TESTCFG_VERSION", "1", 1);
    assert_int_equal(parse(&c, &err, NULL), 0);
    assert_false(c.version);
    assert_int_equal(parse(&c, &err, "--version", NULL), 1);
    assert_true(c.version);
    (void)unsetenv("TESTCFG_VERSION");
}

static void the_environment_stands_between_default_and_command_line(void **state)
{
    struct config c;
    struct cb_err err;

    (void)state;
    assert_int_equal(setenv("TESTCFG_NUMBER", "42", 1), 0);
    assert_int_equal(setenv("TESTCFG_LONG_NAME", "", 1), 0); /* empty is unset */
    assert_int_equal(setenv("TESTCFG_LOCK", "0", 1), 0);
    assert_int_equal(setenv("TEST_CONFIG_OWN_URL", "http://env", 1), 0);
    assert_int_equal(parse(&c, &err, NULL), 0);
    assert_int_equal(c.number, 42);
    assert_null(c.name);
    assert_false(c.lock);
    assert_string_equal(c.url, "http://env");
    assert_int_equal(parse(&c, &err, "--number", "43", "--lock", "--url", "http://arg", NULL), 5);
    assert_int_equal(c.number, 43);
    assert_true(c.lock);
    assert_string_equal(c.url, "http://arg");
    assert_int_equal(setenv("TESTCFG_NUMBER", "many", 1), 0);
    assert_int_equal(parse(&c, &err, NULL), -EINVAL);
    assert_non_null(strstr(err.text, "TESTCFG_NUMBER"));
    assert_non_null(strstr(err.text, "many"));
}

static void a_list_is_replaced_by_the_next_stage_and_grows_within_one(void **state)
{
    struct config c;
    struct cb_err err;

    (void)state;
    assert_int_equal(parse(&c, &err, "--event", "a", "--event=b", NULL), 3);
    assert_int_equal(c.events.n, 2);
    assert_string_equal(c.events.at[0], "a");
    assert_string_equal(c.events.at[1], "b");
    assert_int_equal(setenv("TESTCFG_EVENT", "e", 1), 0);
    assert_int_equal(parse(&c, &err, NULL), 0);
    assert_int_equal(c.events.n, 1);
    assert_string_equal(c.events.at[0], "e");
    assert_int_equal(parse(&c, &err, "--event", "a", NULL), 2);
    assert_int_equal(c.events.n, 1);
    assert_string_equal(c.events.at[0], "a");
}

static void a_list_has_an_end(void **state)
{
    struct config c = {0};
    char *argv[2 * CB_OPT_LIST_MAX + 4];
    char option[] = "--event";
    char value[] = "x";
    struct cb_err err = {0};
    int next;
    int argc = 1;

    (void)state;
    argv[0] = value;
    for (int i = 0; i <= CB_OPT_LIST_MAX; i++) {
        argv[argc++] = option;
        argv[argc++] = value;
    }
    argv[argc] = NULL;
    assert_int_equal(cb_config_parse(table, NULL, argc - 2, argv, &c, &next, &err), 0);
    c = (struct config){0};
    assert_int_equal(cb_config_parse(table, NULL, argc, argv, &c, &next, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--event"));
}

static void every_mistake_names_the_option_and_what_is_allowed(void **state)
{
    static const struct {
        const char *word, *value, *first, *second;
    } cases[] = {
        {"--nonsense", NULL, "--nonsense", "--help"},
        {"--numbers", "8", "--numbers", "--help"},
        {"--numbe", "8", "--numbe", "--help"},
        {"--", "x", NULL, NULL},
        {"-x", NULL, "-x", "--help"},
        {"-jx", NULL, "-jx", "--help"},
        {"--no-number", NULL, "--no-number", "--help"},
        {"--no-lock=1", NULL, "--no-lock", "no value"},
        {"--number", NULL, "--number", "needs a value: N"},
        {"--number", "x", "--number", "'x' is not a whole number"},
        {"--number", "", "--number", "'' is not a whole number"},
        {"--number", "0", "--number", "1 to 100"},
        {"--number", "101", "--number", "1 to 100"},
        {"--tick", "5", "--tick", "250ms"},
        {"--tick", "61s", "--tick", "1ms to 1m"},
        {"--ratio", "much", "--ratio", "not a number"},
        {"--lock=maybe", NULL, "--lock", "not yes or no"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config c;
        struct cb_err err;
        int r = parse(&c, &err, cases[i].word, cases[i].value, NULL);

        if (!cases[i].first) {
            assert_int_equal(r, 1);
            continue;
        }
        assert_int_equal(r, -EINVAL);
        if (!strstr(err.text, cases[i].first) || !strstr(err.text, cases[i].second))
            fail_msg("%s: '%s'", cases[i].word, err.text);
    }
}

static char *printed(void (*print)(FILE *out, const struct config *c), const struct config *c)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    print(out, c);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void print_help(FILE *out, const struct config *c)
{
    (void)c;
    cb_config_help(out, table, "TESTCFG");
}

static void print_config(FILE *out, const struct config *c)
{
    cb_config_print(out, table, c);
}

static void help_names_every_option_in_80_columns(void **state)
{
    char *text = printed(print_help, NULL);

    (void)state;
    for (const struct cb_opt *opt = table; opt->key; opt++) {
        char flag[32];

        (void)snprintf(flag, sizeof(flag), "--%s", opt->key);
        assert_non_null(strstr(text, flag));
        if (opt->def)
            assert_non_null(strstr(text, opt->def));
    }
    assert_non_null(strstr(text, "-n, --number N"));
    assert_non_null(strstr(text, "TEST_CONFIG_OWN_URL"));
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
    free(text);
}

static void what_is_in_force_is_printed_but_no_secret(void **state)
{
    struct config c;
    struct cb_err err;
    char *text;

    (void)state;
    assert_int_equal(parse(&c, &err, "--secret", "password", "--tick=1234567us", "--event=a",
                           "--event=b", "--no-lock", NULL),
                     6);
    text = printed(print_config, &c);
    assert_string_equal(text, "lock = no\n"
                              "json = no\n"
                              "number = 7\n"
                              "tick = 1.234567s\n"
                              "ratio = 0.5\n"
                              "long-name = \n"
                              "secret = (secret)\n"
                              "url = http://x\n"
                              "event = a b\n"
                              "version = no\n");
    free(text);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        TEST(without_words_the_defaults_hold),
        TEST(every_form_of_an_option_is_understood),
        TEST(what_is_no_option_ends_them),
        TEST(an_action_is_not_for_the_environment),
        TEST(the_environment_stands_between_default_and_command_line),
        TEST(a_list_is_replaced_by_the_next_stage_and_grows_within_one),
        TEST(a_list_has_an_end),
        TEST(every_mistake_names_the_option_and_what_is_allowed),
        TEST(help_names_every_option_in_80_columns),
        TEST(what_is_in_force_is_printed_but_no_secret),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
