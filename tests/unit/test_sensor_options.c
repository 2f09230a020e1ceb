/* SPDX-License-Identifier: Apache-2.0 */
/* test_sensor_options.c - cbsensor's command line and its state directory. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/defaults.h"
#include "lib/err.h"
#include "sensor/options.h"
#include "sensor/state.h"
#include "tests/support/fake_root.h"

static int parse(struct cb_sensor_options *options, struct cb_err *err, const char *a,
                 const char *b, const char *c)
{
    char program[] = "cbsensor";
    char *argv[5] = {program};
    int argc = 1;
    const char *const rest[] = {a, b, c};
    static char copies[3][128];

    for (size_t i = 0; i < 3 && rest[i]; i++) {
        (void)snprintf(copies[i], sizeof(copies[i]), "%s", rest[i]);
        argv[argc++] = copies[i];
    }
    return cb_sensor_options_parse(argc, argv, options, err);
}

static void has_the_documented_defaults(void **state)
{
    struct cb_sensor_options o;

    (void)state;
    (void)unsetenv(CB_ENV_DOCKER_HOST);
    assert_int_equal(parse(&o, NULL, NULL, NULL, NULL), 0);
    assert_int_equal(o.tick_ns, CB_NS_PER_S);
    assert_string_equal(o.state_dir, CB_DEFAULT_SENSOR_STATE);
    assert_string_equal(o.formula, CB_DEFAULT_LINK_CONNECT);
    assert_string_equal(o.docker_host, CB_DEFAULT_DOCKER_HOST);
    assert_string_equal(o.energy, "auto");
    assert_string_equal(o.root, "/");
    assert_true(o.name[0] != '\0');
    assert_int_equal(o.events.n, 0);
    assert_int_equal(o.level, CB_LOG_INFO);
}

static void takes_a_tick_from_1_ms_to_60_s(void **state)
{
    static const char *const good[] = {"1ms", "60s", "1m", "250ms"};
    static const char *const bad[] = {"999us", "61s", "1", "x", "-1s", ""};
    struct cb_sensor_options o;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(parse(&o, NULL, "--tick", good[i], NULL), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_err err = {0};

        assert_int_equal(parse(&o, &err, "--tick", bad[i], NULL), -EINVAL);
        assert_non_null(strstr(err.text, "--tick"));
    }
}

static void names_what_is_wrong(void **state)
{
    static const struct {
        const char *a, *b;
        const char *text;
    } bad[] = {
        {"--nosuch", NULL, "--nosuch"},       {"surplus", NULL, "surplus"},
        {"--name", "two words", "--name"},    {"--name", "a/b", "--name"},
        {"--log-level", "loud", "'loud'"},    {"--insecure", NULL, "--plain"},
        {"--spool-max", "1k", "--spool-max"}, {"--estimate-max-watts", "-3", "estimate-max"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_sensor_options o;
        struct cb_err err = {0};

        assert_int_equal(parse(&o, &err, bad[i].a, bad[i].b, NULL), -EINVAL);
        assert_non_null(strstr(err.text, bad[i].text));
    }
}

static void collects_lists(void **state)
{
    struct cb_sensor_options o;

    (void)state;
    assert_int_equal(parse(&o, NULL, "--cgroup=work/*", "--cgroup=a/?", "--events=cycles,r1"), 0);
    assert_int_equal(o.cgroups.n, 2);
    assert_string_equal(o.cgroups.at[1], "a/?");
    assert_int_equal(o.events.n, 1);
}

static void makes_its_state_directory_for_itself_alone(void **state)
{
    struct fake_root *root = *state;
    struct cb_state s;
    struct stat st;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/a/b", root->dir);
    assert_int_equal(cb_state_open(&s, path, NULL), 0);
    assert_int_equal(cb_state_lock(&s, path, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_true(s.spool_fd >= 0);
    cb_state_close(&s);
}

static void is_alone_in_its_state_directory(void **state)
{
    struct fake_root *root = *state;
    struct cb_state first;
    struct cb_state second;
    struct cb_err err = {0};
    char pid[32];

    (void)snprintf(pid, sizeof(pid), "process %d", (int)getpid());
    assert_int_equal(cb_state_open(&first, root->dir, NULL), 0);
    assert_int_equal(cb_state_lock(&first, root->dir, NULL), 0);
    assert_int_equal(cb_state_open(&second, root->dir, NULL), 0);
    assert_int_equal(cb_state_lock(&second, root->dir, &err), -EBUSY);
    assert_non_null(strstr(err.text, pid));
    assert_non_null(strstr(err.text, "--state-dir"));
    cb_state_close(&second);
    cb_state_close(&first);
    assert_int_equal(cb_state_open(&second, root->dir, NULL), 0);
    assert_int_equal(cb_state_lock(&second, root->dir, NULL), 0);
    cb_state_close(&second);
}

static void says_how_to_get_another_state_directory(void **state)
{
    struct fake_root *root = *state;
    int fds_before = count_open_fds();
    struct cb_state s;
    struct cb_err err = {0};
    char path[128];

    fake_root_put(root, "file", "x");
    (void)snprintf(path, sizeof(path), "%s/file/state", root->dir);
    assert_int_equal(cb_state_open(&s, path, &err), -ENOTDIR);
    assert_non_null(strstr(err.text, "--state-dir"));
    cb_state_close(&s);
    assert_int_equal(cb_state_open(&s, "/proc/no/state", &err), -ENOENT);
    cb_state_close(&s);
    assert_int_equal(count_open_fds(), fds_before);
}

/* The manual has every option; in it '-' is written '\-'. */
static void every_option_is_in_the_manual(void **state)
{
    FILE *in = fopen("docs/man/cbsensor.1", "re");
    char *manual = NULL;
    size_t room = 0;

    (void)state;
    assert_non_null(in);
    assert_true(getdelim(&manual, &room, '\0', in) > 0);
    (void)fclose(in);
    for (const struct cb_opt *opt = cb_sensor_opts; opt->key; opt++) {
        char word[128] = "\\-\\-";
        size_t n = strlen(word);

        for (const char *p = opt->key; *p; p++) {
            if (*p == '-')
                word[n++] = '\\';
            word[n++] = *p;
        }
        word[n] = '\0';
        if (!strstr(manual, word))
            fail_msg("no --%s in the manual", opt->key);
    }
    free(manual);
}

static void the_file_stands_below_the_command_line(void **state)
{
    struct fake_root *root = *state;
    struct cb_sensor_options o;
    struct cb_err err = {0};
    char path[160];

    fake_root_put(root, "c.yaml", "tick: 2s\nname: file\nevents: [cycles]\n");
    (void)snprintf(path, sizeof(path), "--config=%s/c.yaml", root->dir);
    assert_int_equal(parse(&o, NULL, path, "--tick=3s", NULL), 0);
    assert_int_equal(o.tick_ns, 3 * CB_NS_PER_S);
    assert_string_equal(o.name, "file");
    assert_int_equal(o.events.n, 1);
    cb_sensor_options_fini(&o);
    fake_root_put(root, "c.yaml", "tick: 2s\nlog-level: loud\n");
    assert_int_equal(parse(&o, &err, path, NULL, NULL), -EINVAL);
    assert_non_null(strstr(err.text, "'loud'"));
    cb_sensor_options_fini(&o);
    fake_root_put(root, "c.yaml", "tick: 2s\nconfig: other\n");
    assert_int_equal(parse(&o, &err, path, NULL, NULL), -EINVAL);
    assert_non_null(strstr(err.text, "c.yaml:2: 'config'"));
    assert_non_null(o.config);
    cb_sensor_options_fini(&o);
}

static void what_a_start_would_refuse_is_refused_at_once(void **state)
{
    static const struct {
        const char *a, *b, *text;
    } bad[] = {
        {"--energy=bogus", NULL, "--energy: unknown energy source 'bogus'"},
        {"--energy=estimate", "--no-estimate", "contradict"},
        {"--estimate-idle-watts=90", "--estimate-max-watts=40", "(90.0 W) is above"},
        {"--count=bogus", NULL, "--count: unknown way to count 'bogus'"},
        {"--hierarchy=bogus", NULL, "--hierarchy: unknown hierarchy 'bogus'"},
        {"--root=/nonexistent", NULL, "--root: cannot open '/nonexistent'"},
        {"--formula=nonsense", NULL, "--formula: 'nonsense' is not an address"},
        {"--formula=tcp://192.0.2.1:9770", "--plain", "not loopback"},
    };
    struct cb_sensor_options o;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cb_err err = {0};

        assert_true(parse(&o, &err, "--check-config", bad[i].a, bad[i].b) < 0);
        if (!strstr(err.text, bad[i].text))
            fail_msg("'%s' does not say '%s'", err.text, bad[i].text);
        assert_int_equal(parse(&o, NULL, "--help", bad[i].a, bad[i].b), 0);
    }
    assert_int_equal(parse(&o, NULL, "--output=-", "--formula=nonsense", NULL), 0);
    assert_int_equal(parse(&o, NULL, "--estimate-idle-watts=9", "--count=bpf", NULL), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_the_documented_defaults),
        cmocka_unit_test(takes_a_tick_from_1_ms_to_60_s),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(collects_lists),
        cmocka_unit_test(every_option_is_in_the_manual),
        TEST(the_file_stands_below_the_command_line),
        TEST(makes_its_state_directory_for_itself_alone),
        TEST(is_alone_in_its_state_directory),
        TEST(says_how_to_get_another_state_directory),
        TEST(what_a_start_would_refuse_is_refused_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
