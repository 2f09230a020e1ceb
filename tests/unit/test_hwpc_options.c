/* SPDX-License-Identifier: Apache-2.0 */
/* test_hwpc_options.c - sensor/hwpc_options.c and hwpc_json.c: hwpc-sensor's command line and file.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "sensor/hwpc_options.h"
#include "sensor/options.h"
#include "tests/support/fake_root.h"

#define MAX_WORDS 64

struct line {
    struct cb_hwpc_options o;
    char text[2048];
    char *argv[MAX_WORDS + 1];
    char *rest[MAX_WORDS + 1];
    int argc, rest_argc;
};

/* Words are parted by blanks. */
static void split(struct line *l, const char *words)
{
    l->argc = 0;
    (void)snprintf(l->text, sizeof(l->text), "cbsensor %s", words);
    for (char *save = NULL, *w = strtok_r(l->text, " ", &save); w; w = strtok_r(NULL, " ", &save))
        l->argv[l->argc++] = w;
    l->argv[l->argc] = NULL;
}

static int parse(struct line *l, const char *words, struct cb_err *err)
{
    int r;

    split(l, words);
    r = cb_hwpc_options_parse(l->argc, l->argv, &l->o, &l->rest_argc, l->rest, err);
    return r < 0 ? r : cb_hwpc_options_check(&l->o, false, err);
}

/* powerapi-g5k's sensor command. */
#define SEED                                                                                       \
    "-n NAME -r mongodb -U mongodb://mongobase:27017 -D rapls2 -C sensorNAME -s rapl -o "          \
    "-e RAPL_ENERGY_PKG -e RAPL_ENERGY_DRAM -s pcu -o -e UNC_P_POWER_STATE_OCCUPANCY:CORES_C0 "    \
    "-e UNC_P_POWER_STATE_OCCUPANCY:CORES_C3 -e UNC_P_POWER_STATE_OCCUPANCY:CORES_C6 -c core "     \
    "-e CPU_CLK_THREAD_UNHALTED:REF_P -e CPU_CLK_THREAD_UNHALTED:THREAD_P -e LLC_MISSES"

static void reads_the_seeds_command(void **state)
{
    struct line l;

    (void)state;
    assert_int_equal(parse(&l, SEED, NULL), 0);
    assert_string_equal(l.o.name, "NAME");
    assert_int_equal(l.o.storage, CB_HWPC_MONGODB);
    assert_string_equal(l.o.where, "mongodb://mongobase:27017");
    assert_string_equal(l.o.database, "rapls2");
    assert_string_equal(l.o.collection, "sensorNAME");
    assert_int_equal(l.o.system.n, 2);
    assert_string_equal(l.o.system.at[0].name, "rapl");
    assert_true(l.o.system.at[0].one_cpu);
    assert_int_equal(l.o.system.at[0].n_events, 2);
    assert_string_equal(l.o.system.at[1].events[2], "UNC_P_POWER_STATE_OCCUPANCY:CORES_C6");
    assert_int_equal(l.o.cgroups.n, 1);
    assert_false(l.o.cgroups.at[0].one_cpu);
    assert_int_equal(l.o.cgroups.at[0].n_events, 3);
    assert_int_equal(l.o.tick_ns, CB_NS_PER_S);
    assert_int_equal(l.o.discovery_ns, 5 * CB_NS_PER_S);
    assert_null(l.o.base_path);
    assert_int_equal(l.rest_argc, 1);
    cb_hwpc_options_fini(&l.o);
}

static void options_belong_to_what_stands_before_them(void **state)
{
    struct line l;

    (void)state;
    assert_int_equal(parse(&l,
                           "-r csv -U first -s a -e A -c b -oe B -s a -e A2 -r socket -U h -P 9080 "
                           "-f0x64 -p /x --cgroup-discovery-interval=250 --perf-sampling-interval "
                           "010 -v -e A3",
                           NULL),
                     0);
    assert_int_equal(l.o.system.n, 1);
    assert_int_equal(l.o.system.at[0].n_events, 3); /* selected again */
    assert_string_equal(l.o.system.at[0].events[2], "A3");
    assert_false(l.o.system.at[0].one_cpu);
    assert_true(l.o.cgroups.at[0].one_cpu);
    assert_int_equal(l.o.storage, CB_HWPC_SOCKET);
    assert_string_equal(l.o.where, "h");
    assert_int_equal(l.o.tick_ns, CB_NS_PER_S / 1000 * 8); /* octal, as there; the last holds */
    assert_int_equal(l.o.discovery_ns, CB_NS_PER_S / 4);
    assert_true(l.o.verbose);
    cb_hwpc_options_fini(&l.o);
}

static void own_options_are_handed_back(void **state)
{
    struct line l;

    (void)state;
    assert_int_equal(
        parse(&l, "--root /r -s a --log-level=debug -e A --frames 3 -r null --log-json", NULL), 0);
    assert_int_equal(l.rest_argc, 7);
    assert_string_equal(l.rest[1], "--root");
    assert_string_equal(l.rest[3], "--log-level=debug");
    assert_string_equal(l.rest[6], "--log-json");
    assert_null(l.rest[7]);
    cb_hwpc_options_fini(&l.o);
}

static void one_of_their_options_is_enough_to_be_meant(void **state)
{
    static const struct {
        const char *words;
        bool meant;
    } lines[] = {
        {"-s rapl", true},
        {"--root / -c core", true},
        {"-x file.json", true},
        {"--config-file=file.json", true},
        {"-n name", true},
        {"", false},
        {"--events cycles --plain --output -", false},
        {"-h", false},
        {"-V", false},
        {"--name -s", false}, /* the value of an option */
        {"-- -s rapl", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct line l;

        split(&l, lines[i].words);
        if (cb_hwpc_options_are_meant(l.argc, l.argv) != lines[i].meant)
            fail_msg("'%s'", lines[i].words);
    }
}

static void says_what_is_wrong_and_what_to_do(void **state)
{
    static const struct {
        const char *words, *first, *second;
    } bad[] = {
        {"-e A -s a -r null", "-e A", "-s or -c"},
        {"-o -s a", "-o", "-s or -c"},
        {"-r null", "nothing to measure", "-e"},
        {"-s a -r null", "group 'a'", "-e EVENT"},
        {"-s a -e A", "nowhere to write", "-r null, csv"},
        {"-s a -e A -U x -r csv", "-U", "after -r"},
        {"-s a -e A -r csv", "-r csv", "-U DIRECTORY"},
        {"-s a -e A -r csv -U d -P 1", "-P", "'csv'"},
        {"-s a -e A -r socket -U h", "-r socket", "-P PORT"},
        {"-s a -e A -r socket -U h -P 65536", "'65536'", "1 to 65535"},
        {"-s a -e A -r socket -U h -P 0", "'0'", "1 to 65535"},
        {"-s a -e A -r mongodb -U u -D d", "-r mongodb", "-C COLLECTION"},
        {"-s a -e A -r ftp", "'ftp'", "csv, socket or mongodb"},
        {"-f 0 -s a -e A -r null", "-f", "from 1"},
        {"-f 1s -s a -e A -r null", "-f", "milliseconds"},
        {"-f -1 -s a -e A -r null", "-f", "milliseconds"},
        {"-s a/b -e A -r null", "'a/b'", "name"},
        {"-s", "'-s'", "value"},
        {"-s a -e A -q", "'-q'", "--help"},
        {"-s a -e A -r null surplus", "'surplus'", "--help"},
        {"-s a -e A -r null --tick 1s", "--tick", "-f"},
        {"-s a -e A -r null --name=x", "--name", "-n"},
        {"-x file.yaml", "file.yaml", "--config"},
        {"-x /nonexistent/file.json", "nonexistent", "No such file"},
        {"-n a,b -s a -e A -r csv -U d", "'a,b'", "comma"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct line l;
        struct cb_err err = {0};
        int r = parse(&l, bad[i].words, &err);

        cb_hwpc_options_fini(&l.o);
        if (r == 0 || !strstr(err.text, bad[i].first) || !strstr(err.text, bad[i].second))
            fail_msg("'%s': '%s'", bad[i].words, err.text);
    }
}

#define JSON                                                                                       \
    "{\"Verbose\": true, \"name\": \"n\", \"cgroup-basepath\": \"/cg\", \"frequency\": 500,"       \
    "\"cgroup-discovery-interval\": 2000,"                                                         \
    "\"output\": {\"host\": \"h\", \"port\": 9080, \"type\": \"socket\"},"                         \
    "\"system\": {\"rapl\": {\"events\": [\"RAPL_ENERGY_PKG\"], \"monitoring_type\":"              \
    " \"MONITOR_ONE_CPU_PER_SOCKET\"}, \"msr\": {\"events\": [\"TSC\", \"APERF\", \"MPERF\"]}},"   \
    "\"cgroups\": {\"core\": {\"events\": [\"LLC_MISSES\"], \"mode\": \"all_cpu_per_socket\"}}}"

static void reads_the_json_form(void **state)
{
    struct cb_hwpc_options o = {0};

    (void)state;
    assert_int_equal(cb_hwpc_options_json(JSON, strlen(JSON), "f", &o, NULL), 0);
    assert_int_equal(cb_hwpc_options_check(&o, false, NULL), 0);
    assert_true(o.verbose);
    assert_string_equal(o.name, "n");
    assert_string_equal(o.base_path, "/cg");
    assert_int_equal(o.tick_ns, CB_NS_PER_S / 2);
    assert_int_equal(o.discovery_ns, 2 * CB_NS_PER_S);
    assert_int_equal(o.storage, CB_HWPC_SOCKET);
    assert_string_equal(o.where, "h");
    assert_string_equal(o.port, "9080");
    assert_int_equal(o.system.n, 2);
    assert_true(o.system.at[0].one_cpu);
    assert_int_equal(o.system.at[1].n_events, 3);
    assert_string_equal(o.cgroups.at[0].events[0], "LLC_MISSES");
    assert_false(o.cgroups.at[0].one_cpu);
    cb_hwpc_options_fini(&o);
}

static void later_flags_override_the_file_or_add_to_it(void **state)
{
    struct fake_root *root = *state;
    struct line l;
    char words[256];

    fake_root_put(root, "C.JSON", "%s", JSON);
    (void)snprintf(words, sizeof(words),
                   "-n before -x %s/C.JSON -f 100 -c core -e MORE -s new -e N", root->dir);
    assert_int_equal(parse(&l, words, NULL), 0);
    assert_string_equal(l.o.name, "n");
    assert_int_equal(l.o.tick_ns, CB_NS_PER_S / 10);
    assert_int_equal(l.o.cgroups.at[0].n_events, 2);
    assert_int_equal(l.o.system.n, 3);
    cb_hwpc_options_fini(&l.o);
}

static void refuses_a_file_with_what_it_does_not_know(void **state)
{
    static const struct {
        const char *json, *first, *second;
    } bad[] = {
        {"{\"nmae\": \"x\"}", "'nmae'", "cgroup_basepath"},
        {"{\"name\": 5}", "'name'", "text"},
        {"{\"verbose\": \"yes\"}", "'verbose'", "true or false"},
        {"{\"frequency\": \"1s\"}", "'frequency'", "milliseconds"},
        {"{\"frequency\": 0}", "'frequency'", "from 1"},
        {"{\"output\": {\"directory\": \"d\"}}", "'output'", "'type'"},
        {"{\"output\": {\"type\": \"csv\", \"uri\": \"d\"}}", "'uri'", "'csv'"},
        {"{\"output\": 7}", "'output'", "'type'"},
        {"{\"system\": []}", "'system'", "groups"},
        {"{\"system\": {\"a\": {\"event\": []}}}", "system.a", "events"},
        {"{\"system\": {\"a\": {\"events\": \"TSC\"}}}", "system.a", "list"},
        {"{\"system\": {\"a\": {\"events\": [1]}}}", "system.a", "names"},
        {"{\"system\": {\"a\": {\"mode\": \"NONE\"}}}", "'mode'", "ONE_CPU"},
        {"[]", "f", "object"},
        {"{\n\n\"name\" \"x\"}", "f:3", "malformed"},
        {"", "f:1", "malformed"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_hwpc_options o = {0};
        struct cb_err err = {0};
        int r = cb_hwpc_options_json(bad[i].json, strlen(bad[i].json), "f", &o, &err);

        cb_hwpc_options_fini(&o);
        if (r != -EINVAL || !strstr(err.text, bad[i].first) || !strstr(err.text, bad[i].second))
            fail_msg("'%s': '%s'", bad[i].json, err.text);
    }
}

static void a_file_that_is_not_there_is_named_as_it_was_given(void **state)
{
    struct line l;
    struct cb_err err = {0};

    (void)state;
    assert_int_equal(parse(&l, "-x no/file.json", &err), -ENOENT);
    assert_non_null(strstr(err.text, "'no/file.json'"));
    cb_hwpc_options_fini(&l.o);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_seeds_command),
        cmocka_unit_test(options_belong_to_what_stands_before_them),
        cmocka_unit_test(own_options_are_handed_back),
        cmocka_unit_test(one_of_their_options_is_enough_to_be_meant),
        cmocka_unit_test(says_what_is_wrong_and_what_to_do),
        cmocka_unit_test(reads_the_json_form),
        TEST(later_flags_override_the_file_or_add_to_it),
        cmocka_unit_test(a_file_that_is_not_there_is_named_as_it_was_given),
        cmocka_unit_test(refuses_a_file_with_what_it_does_not_know),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
