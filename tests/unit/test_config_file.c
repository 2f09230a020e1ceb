/* SPDX-License-Identifier: Apache-2.0 */
/* test_config_file.c - lib/config_file.c: a program's options as YAML. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/config_file.h"
#include "lib/err.h"
#include "tests/support/fake_root.h"

struct config {
    bool plain, help;
    uint64_t number, tick_ns;
    double ratio;
    const char *name, *secret;
    struct cb_opt_list events;
};

#define AT(member) offsetof(struct config, member)

static const struct cb_opt table[] = {
    {.key = "plain", .type = CB_OPT_BOOL, .offset = AT(plain), .help = "x"},
    {.key = "number",
     .type = CB_OPT_U64,
     .offset = AT(number),
     .def = "7",
     .min = 1,
     .max = 100,
     .help = "x"},
    {.key = "tick",
     .type = CB_OPT_DURATION,
     .offset = AT(tick_ns),
     .def = "1s",
     .min = 1e6,
     .max = 60e9,
     .help = "x"},
    {.key = "ratio", .type = CB_OPT_DOUBLE, .offset = AT(ratio), .def = "0.5", .help = "x"},
    {.key = "name", .type = CB_OPT_STRING, .offset = AT(name), .help = "x"},
    {.key = "secret", .secret = true, .type = CB_OPT_STRING, .offset = AT(secret), .help = "x"},
    {.key = "events", .type = CB_OPT_LIST, .offset = AT(events), .def = "all", .help = "x"},
    {.key = "help", .cli_only = true, .type = CB_OPT_BOOL, .offset = AT(help), .help = "x"},
    {.key = NULL},
};

static int parse(const char *text, struct cb_config_file **file, struct cb_err *err)
{
    return cb_config_file_parse(text, strlen(text), "f.yaml", table, NULL, NULL, file, err);
}

/* The file, then an environment and flags of up to two words. */
static struct cb_config_file *load(const char *text, struct config *c, const char *flag1,
                                   const char *flag2)
{
    char words[3][64] = {"program"};
    char *argv[] = {words[0], words[1], words[2], NULL};
    struct cb_config_file *file = NULL;
    int next;

    (void)snprintf(words[1], sizeof(words[1]), "%s", flag1 ? flag1 : "");
    (void)snprintf(words[2], sizeof(words[2]), "%s", flag2 ? flag2 : "");
    assert_int_equal(parse(text, &file, NULL), 0);
    *c = (struct config){0};
    assert_int_equal(
        cb_config_parse_with(table, "TESTFILE", file, 1 + !!flag1 + !!flag2, argv, c, &next, NULL),
        0);
    return file;
}

static void every_type_has_its_form(void **state)
{
    struct cb_config_file *file;
    struct config c;

    (void)state;
    file = load("# all of them\n"
                "plain: true\n"
                "number: 42\n"
                "tick: 250ms # with its unit\n"
                "ratio: 1e-3\n"
                "name: 'a: b'\n"
                "events:\n"
                "  - cycles,instructions\n"
                "  - cpu/event=0x3c,umask=1/\n",
                &c, NULL, NULL);
    assert_true(c.plain);
    assert_int_equal(c.number, 42);
    assert_int_equal(c.tick_ns, 250000000);
    assert_true(c.ratio == 1e-3);
    assert_string_equal(c.name, "a: b");
    assert_int_equal(c.events.n, 2);
    assert_string_equal(c.events.at[1], "cpu/event=0x3c,umask=1/");
    assert_null(cb_config_file_free(file));
}

static void it_stands_between_the_defaults_and_the_environment(void **state)
{
    struct cb_config_file *file;
    struct config c;

    (void)state;
    (void)setenv("TESTFILE_TICK", "3s", 1);
    file = load("number: 1\ntick: 2s\nname: file\nevents: [x, y]\n", &c, "--name", "flag");
    assert_int_equal(c.number, 1);
    assert_int_equal(c.tick_ns, 3000000000);
    assert_string_equal(c.name, "flag");
    assert_true(c.ratio == 0.5);
    assert_int_equal(c.events.n, 2);
    file = cb_config_file_free(file);
    (void)setenv("TESTFILE_EVENTS", "env", 1);
    file = load("events: [x, y]\n", &c, NULL, NULL);
    assert_int_equal(c.events.n, 1);
    assert_string_equal(c.events.at[0], "env");
    file = cb_config_file_free(file);
    file = load("events: [x, y]\n", &c, "--events=f", "--events=g");
    assert_int_equal(c.events.n, 2);
    assert_string_equal(c.events.at[0], "f");
    file = cb_config_file_free(file);
    (void)unsetenv("TESTFILE_EVENTS");
    (void)unsetenv("TESTFILE_TICK");
}

static void an_empty_file_changes_nothing(void **state)
{
    static const char *const empty[] = {"", "# only this\n", "---\n", "{}", "\n\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
        struct config c;
        struct cb_config_file *file = load(empty[i], &c, NULL, NULL);

        assert_int_equal(c.number, 7);
        assert_int_equal(c.events.n, 1);
        file = cb_config_file_free(file);
    }
}

static void a_fault_has_its_line_its_key_and_the_remedy(void **state)
{
    static const struct {
        const char *text, *where, *what;
    } bad[] = {
        {"number: 1\ntik: 1s\n", "f.yaml:2: ", "'tik': did you mean 'tick'?"},
        {"elephant: 1\n", "f.yaml:1: ", "--help"},
        {"\n\ntick: 5\n", "f.yaml:3: ", "'tick': '5' is not a duration such as 250ms"},
        {"tick: 61s\n", "f.yaml:1: ", "allowed is 1ms to 1m"},
        {"number: 101\n", "f.yaml:1: ", "'101' is out of range"},
        {"number: -1\n", "f.yaml:1: ", "'-1'"},
        {"plain: perhaps\n", "f.yaml:1: ", "yes or no"},
        {"name:\n", "f.yaml:1: ", "'name' has no value"},
        {"name: ~\n", "f.yaml:1: ", "'name' has no value"},
        {"name: [a]\n", "f.yaml:1: ", "'name' wants one value"},
        {"name: {a: b}\n", "f.yaml:1: ", "'name' wants one value"},
        {"events: [[a]]\n", "f.yaml:1: ", "'events' wants values"},
        {"number: 1\nnumber: 2\n", "f.yaml:2: ", "'number' is there twice"},
        {"help: true\n", "f.yaml:1: ", "command line only"},
        {"[a, b]\n", "f.yaml:1: ", "key: value"},
        {"word\n", "f.yaml:1: ", "key: value"},
        {"? [a]\n: b\n", "f.yaml:1: ", "plain word"},
        {"name: &x a\n", "f.yaml:1: ", "'name' wants one value"},
        {"name: *x\n", "f.yaml:1: ", "'name' wants one value"},
        {"name: a\n---\nname: b\n", "f.yaml:2: ", "second document"},
        {"name: 'a\n", "f.yaml:", "not YAML"},
        {"name: a\n\tb: c\n", "f.yaml:2: ", "not YAML"},
        {"name: \"a\\0b\"\n", "f.yaml:1: ", "'name' wants one value"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_config_file *file = NULL;
        struct cb_err err = {0};

        if (parse(bad[i].text, &file, &err) != -EINVAL || file ||
            strncmp(err.text, bad[i].where, strlen(bad[i].where)) != 0 ||
            !strstr(err.text, bad[i].what))
            fail_msg("'%s': '%s'", bad[i].text, err.text);
    }
}

static void collect(void *context, const char *text)
{
    char *all = context;

    (void)snprintf(all + strlen(all), 1024 - strlen(all), "%.10s|", text);
}

static void all_faults_are_told_to_who_asks(void **state)
{
    static const char text[] =
        "tik: 1s\nnumber: 5\nelephant: {a: [b, {c: d}]}\nevents: [{a: b}, x, "
        "[y]]\ntick: 5\nname: a\n";
    char all[1024] = "";
    struct cb_config_file *file = NULL;
    struct cb_err err = {0};

    (void)state;
    assert_int_equal(
        cb_config_file_parse(text, strlen(text), "f.yaml", table, collect, all, &file, &err),
        -EINVAL);
    assert_string_equal(all, "f.yaml:1: |f.yaml:3: |f.yaml:4: |f.yaml:4: |f.yaml:5: |");
    assert_int_equal(strncmp(err.text, "f.yaml:1: unknown key 'tik'", 27), 0);
}

static void what_is_printed_is_read_back(void **state)
{
    struct cb_config_file *file, *again;
    struct config c, d;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    file = load("plain: yes\ntick: 1234567us\nname: \"it's\\ta 'name'\\n#\"\nsecret: s3\n"
                "events: ['', 'a, b', \"c'd\"]\nratio: 0.1\n",
                &c, NULL, NULL);
    cb_config_file_print(out, table, &c);
    assert_int_equal(fclose(out), 0);
    assert_null(strstr(text, "s3"));
    assert_null(strstr(text, "help"));
    again = load(text, &d, NULL, NULL);
    assert_true(d.plain);
    assert_int_equal(d.tick_ns, c.tick_ns);
    assert_true(d.ratio == c.ratio);
    assert_string_equal(d.name, c.name);
    assert_int_equal(d.events.n, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(d.events.at[i], c.events.at[i]);
    file = cb_config_file_free(file);
    again = cb_config_file_free(again);
    free(text);
}

static void files_are_read_up_to_a_limit(void **state)
{
    struct fake_root *root = *state;
    struct cb_config_file *file = NULL;
    struct cb_err err = {0};
    char path[128];
    char *large = malloc(CB_CONFIG_FILE_MAX + 2);

    fake_root_put(root, "c.yaml", "number: 9\n");
    (void)snprintf(path, sizeof(path), "%s/c.yaml", root->dir);
    assert_int_equal(cb_config_file_read(path, table, NULL, NULL, &file, NULL), 0);
    file = cb_config_file_free(file);
    memset(large, '#', CB_CONFIG_FILE_MAX + 1);
    large[CB_CONFIG_FILE_MAX + 1] = '\0';
    fake_root_put(root, "c.yaml", "%s", large);
    free(large);
    assert_int_equal(cb_config_file_read(path, table, NULL, NULL, &file, &err), -EFBIG);
    assert_int_equal(cb_config_file_read("/nonexistent", table, NULL, NULL, &file, &err), -ENOENT);
    assert_int_equal(cb_config_file_read(root->dir, table, NULL, NULL, &file, &err), -EISDIR);
    assert_null(file);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_its_form),
        cmocka_unit_test(it_stands_between_the_defaults_and_the_environment),
        cmocka_unit_test(an_empty_file_changes_nothing),
        cmocka_unit_test(a_fault_has_its_line_its_key_and_the_remedy),
        cmocka_unit_test(all_faults_are_told_to_who_asks),
        cmocka_unit_test(what_is_printed_is_read_back),
        TEST(files_are_read_up_to_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
