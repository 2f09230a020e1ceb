/* SPDX-License-Identifier: Apache-2.0 */
/* test_hwpc_sink.c - sensor/hwpc_{sink,csv,socket,mongodb,queue}.c: where reports go. MongoDB
 * itself is met in tests/integration/16-hwpc.sh. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/log.h"
#include "sensor/hwpc_queue.h"
#include "sensor/hwpc_sink.h"
#include "tests/support/fake_root.h"

static const char *const names[] = {"E", "time_enabled", "time_running"};
static const char *const fewer[] = {"F"};
static const struct cb_hwpc_cpu cpus[] = {{"0", "0"}, {"0", "1"}};
static const struct cb_hwpc_form_group machine_groups[] = {
    {.name = "msr", .n_cpus = 2, .cpus = cpus, .n_names = 3, .names = names}};
static const struct cb_hwpc_form_group cgroup_groups[] = {
    {.name = "core", .n_cpus = 2, .cpus = cpus, .n_names = 3, .names = names},
    {.name = "msr", .n_cpus = 1, .cpus = cpus, .n_names = 3, .names = names}};
static const struct cb_hwpc_form_group other_groups[] = {
    {.name = "msr", .n_cpus = 1, .cpus = cpus, .n_names = 1, .names = fewer}};
static const struct cb_hwpc_form machine = {true, 1, machine_groups, 6};
static const struct cb_hwpc_form cgroup = {false, 2, cgroup_groups, 9};
static const struct cb_hwpc_form other = {false, 1, other_groups, 1};

/* Tick @t: the machine and one cgroup. */
static void fill(struct cb_hwpc_batch *batch, int64_t t)
{
    uint64_t *values;

    cb_hwpc_batch_reset(batch, "s", t);
    assert_int_equal(cb_hwpc_batch_add(batch, &machine, "all", &values), 0);
    for (uint64_t i = 0; i < 6; i++)
        values[i] = 10 + i;
    assert_int_equal(cb_hwpc_batch_add(batch, &cgroup, "/a", &values), 0);
    for (uint64_t i = 0; i < 9; i++)
        values[i] = 20 + i;
}

static int open_sink(enum cb_hwpc_storage storage, char *where, char *port,
                     const struct cb_hwpc_form *of_cgroups, struct cb_hwpc_sink **sink,
                     struct cb_err *err)
{
    static char database[] = "d", collection[] = "c";
    const struct cb_hwpc_options options = {
        .storage = storage,
        .where = where,
        .port = port,
        .database = database,
        .collection = collection,
    };

    return cb_hwpc_sink_open(
        &(struct cb_hwpc_sink_options){.options = &options, .forms = {&machine, of_cgroups}}, sink,
        err);
}

static void assert_file(const char *directory, const char *name, const char *wanted)
{
    char path[128];
    char *text = NULL;
    size_t room = 0;
    FILE *in;

    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    in = fopen(path, "re");
    assert_non_null(in);
    assert_true(getdelim(&text, &room, '\0', in) > 0);
    assert_string_equal(text, wanted);
    free(text);
    (void)fclose(in);
}

#define HEAD "timestamp,sensor,target,socket,cpu,E,time_enabled,time_running\n"

static void csv_has_a_file_for_each_group_and_every_tick_is_in_it(void **state)
{
    struct fake_root *root = *state;
    struct cb_hwpc_sink *sink = NULL;
    struct cb_hwpc_batch batch = {0};
    char dir[80];

    (void)snprintf(dir, sizeof(dir), "%s/made", root->dir);
    assert_int_equal(open_sink(CB_HWPC_CSV, dir, NULL, &cgroup, &sink, NULL), 0);
    assert_file(dir, "core.csv", HEAD);
    fill(&batch, 1000);
    assert_int_equal(cb_hwpc_sink_write(sink, &batch, NULL), 0);
    assert_file(dir, "core.csv", HEAD "1000,s,/a,0,0,20,21,22\n1000,s,/a,0,1,23,24,25\n");
    assert_file(dir, "msr.csv",
                HEAD "1000,s,all,0,0,10,11,12\n1000,s,all,0,1,13,14,15\n1000,s,/a,0,0,26,27,28\n");
    fill(&batch, 2000);
    assert_int_equal(cb_hwpc_sink_write(sink, &batch, NULL), 0);
    assert_int_equal(cb_hwpc_sink_close(sink, NULL), 0);
    assert_file(dir, "core.csv",
                HEAD "1000,s,/a,0,0,20,21,22\n1000,s,/a,0,1,23,24,25\n"
                     "2000,s,/a,0,0,20,21,22\n2000,s,/a,0,1,23,24,25\n");
    cb_hwpc_batch_fini(&batch);
}

static void csv_mixes_with_nothing(void **state)
{
    struct fake_root *root = *state;
    struct cb_hwpc_sink *sink = NULL;
    struct cb_err err = {0};
    int fds = count_open_fds();

    fake_root_put(root, "msr.csv", "mine\n");
    assert_int_equal(open_sink(CB_HWPC_CSV, root->dir, NULL, &cgroup, &sink, &err), -EEXIST);
    assert_non_null(strstr(err.text, "msr.csv"));
    assert_non_null(strstr(err.text, "-U"));
    assert_file(root->dir, "msr.csv", "mine\n");
    assert_int_equal(unlinkat(root->fd, "msr.csv", 0), 0);
    assert_int_equal(open_sink(CB_HWPC_CSV, root->dir, NULL, &other, &sink, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'msr'"));
    assert_int_equal(count_open_fds(), fds);
}

/* ---- a server of ours ---- */

struct server {
    int listener;
    char port[8];
};

static void listen_on(struct server *s, uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t size = sizeof(at);
    int one = 1;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->listener >= 0);
    (void)setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(s->listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s->listener, 4), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&at, &size), 0);
    (void)snprintf(s->port, sizeof(s->port), "%u", ntohs(at.sin_port));
}

static int take_call(const struct server *s)
{
    int fd = accept(s->listener, NULL, NULL);

    assert_true(fd >= 0);
    return fd;
}

/* Read until @lines line breaks; how many timestamps of @t are among them. */
static size_t read_lines(int fd, size_t lines, const char *t)
{
    static char text[65536];
    size_t size = 0, n = 0, found = 0;

    while (n < lines) {
        ssize_t got = read(fd, text + size, sizeof(text) - 1 - size);

        assert_true(got > 0);
        for (ssize_t i = 0; i < got; i++)
            n += text[size + (size_t)i] == '\n';
        size += (size_t)got;
    }
    text[size] = '\0';
    assert_int_equal(n, lines);
    for (const char *p = text; (p = strstr(p, t)); p++)
        found++;
    return found;
}

static char localhost[] = "127.0.0.1";

static void socket_gets_one_line_for_each_report(void **state)
{
    struct cb_hwpc_sink *sink = NULL;
    struct cb_hwpc_batch batch = {0};
    struct server s;
    char byte;
    int fd;

    (void)state;
    listen_on(&s, 0);
    assert_int_equal(open_sink(CB_HWPC_SOCKET, localhost, s.port, &cgroup, &sink, NULL), 0);
    assert_true(cb_hwpc_sink_may_wait(sink));
    fd = take_call(&s);
    fill(&batch, 1234);
    assert_int_equal(cb_hwpc_sink_write(sink, &batch, NULL), 0);
    assert_int_equal(read_lines(fd, 2, "{\"timestamp\":1234,\"sensor\":\"s\","), 2);
    assert_int_equal(cb_hwpc_sink_close(sink, NULL), 0);
    assert_int_equal(read(fd, &byte, 1), 0);
    (void)close(fd);
    (void)close(s.listener);
    cb_hwpc_batch_fini(&batch);
}

static void socket_connects_anew_and_sends_what_was_not_taken(void **state)
{
    struct cb_hwpc_sink *sink = NULL;
    struct cb_hwpc_batch batch = {0};
    struct cb_err err = {0};
    struct server s;
    uint16_t port;
    int fd;

    (void)state;
    listen_on(&s, 0);
    port = (uint16_t)strtoul(s.port, NULL, 10);
    assert_int_equal(open_sink(CB_HWPC_SOCKET, localhost, s.port, &cgroup, &sink, NULL), 0);
    fd = take_call(&s);
    (void)close(fd);
    (void)close(s.listener);
    fill(&batch, 5);
    assert_int_equal(cb_hwpc_sink_write(sink, &batch, &err), -EAGAIN);
    assert_non_null(strstr(err.text, s.port));
    listen_on(&s, port);
    assert_int_equal(cb_hwpc_sink_write(sink, &batch, NULL), 0);
    fd = take_call(&s);
    assert_int_equal(read_lines(fd, 2, "{\"timestamp\":5,"), 2);
    assert_int_equal(cb_hwpc_sink_close(sink, NULL), 0);
    (void)close(fd);
    (void)close(s.listener);
    cb_hwpc_batch_fini(&batch);
}

static void socket_goes_on_to_one_that_only_listens(void **state)
{
    struct cb_hwpc_sink *sink = NULL;
    struct cb_hwpc_batch batch = {0};
    struct server s;
    int fd, tries = 0;

    (void)state;
    listen_on(&s, 0);
    assert_int_equal(open_sink(CB_HWPC_SOCKET, localhost, s.port, &cgroup, &sink, NULL), 0);
    fd = take_call(&s);
    (void)close(s.listener);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    fill(&batch, 6);
    while (cb_hwpc_sink_write(sink, &batch, NULL) == -EAGAIN)
        assert_true(++tries < 10);
    assert_int_equal(read_lines(fd, 2, "{\"timestamp\":6,"), 2);
    assert_int_equal(cb_hwpc_sink_close(sink, NULL), 0);
    (void)close(fd);
    cb_hwpc_batch_fini(&batch);
}

static void a_server_that_is_not_there_is_said_at_start(void **state)
{
    struct cb_hwpc_sink *sink = NULL;
    struct cb_err err = {0};
    struct server s;
    int fds = count_open_fds();

    (void)state;
    listen_on(&s, 0);
    (void)close(s.listener);
    assert_int_equal(open_sink(CB_HWPC_SOCKET, localhost, s.port, &cgroup, &sink, &err), -EAGAIN);
    assert_non_null(strstr(err.text, s.port));
    assert_non_null(strstr(err.text, "storage socket"));
    assert_int_equal(count_open_fds(), fds);
}

static void an_uri_that_is_none_is_said_at_start(void **state)
{
    static char uri[] = "postgres://x";
    struct cb_hwpc_sink *sink = NULL;
    struct cb_err err = {0};

    (void)state;
    assert_int_equal(open_sink(CB_HWPC_MONGODB, uri, NULL, &cgroup, &sink, &err), -EINVAL);
    assert_non_null(strstr(err.text, "storage mongodb"));
    assert_non_null(strstr(err.text, "URI"));
}

/* ---- the queue ---- */

static void push(struct cb_hwpc_queue *q, int64_t t)
{
    struct cb_hwpc_batch *batch = cb_hwpc_queue_take(q);

    assert_non_null(batch);
    fill(batch, t);
    cb_hwpc_queue_push(q, batch);
}

static void the_queue_writes_in_order_and_all_before_it_closes(void **state)
{
    struct cb_hwpc_sink *sink = NULL;
    struct cb_hwpc_queue *q = NULL;
    struct server s;
    int fd;

    (void)state;
    listen_on(&s, 0);
    assert_int_equal(open_sink(CB_HWPC_SOCKET, localhost, s.port, &cgroup, &sink, NULL), 0);
    fd = take_call(&s);
    assert_int_equal(cb_hwpc_queue_open(sink, &q, NULL), 0);
    for (int64_t t = 1; t <= 50; t++)
        push(q, t);
    assert_int_equal(cb_hwpc_queue_close(q, CB_NS_PER_S), 0);
    assert_int_equal(read_lines(fd, 100, "{\"timestamp\":"), 100);
    assert_int_equal(cb_hwpc_sink_close(sink, NULL), 0);
    (void)close(fd);
    (void)close(s.listener);
}

static void what_cannot_be_delivered_is_counted(void **state)
{
    struct cb_hwpc_sink *sink = NULL;
    struct cb_hwpc_queue *q = NULL;
    struct server s;
    uint64_t t0;

    (void)state;
    cb_log_init("test", CB_LOG_ERR, false);
    listen_on(&s, 0);
    assert_int_equal(open_sink(CB_HWPC_SOCKET, localhost, s.port, &cgroup, &sink, NULL), 0);
    (void)close(take_call(&s));
    (void)close(s.listener);
    assert_int_equal(cb_hwpc_queue_open(sink, &q, NULL), 0);
    push(q, 1);
    push(q, 2);
    t0 = cb_clock_boot_ns();
    assert_int_equal(cb_hwpc_queue_close(q, CB_NS_PER_S), 4);
    assert_true(cb_clock_boot_ns() - t0 < 3 * CB_NS_PER_S);
    assert_int_equal(cb_hwpc_sink_close(sink, NULL), 0);
}

static void the_oldest_goes_when_too_many_wait(void **state)
{
    struct cb_hwpc_sink *sink = NULL;
    struct cb_hwpc_queue *q = NULL;
    struct server s;
    uint64_t lost;

    (void)state;
    listen_on(&s, 0);
    assert_int_equal(open_sink(CB_HWPC_SOCKET, localhost, s.port, &cgroup, &sink, NULL), 0);
    (void)close(take_call(&s));
    (void)close(s.listener);
    assert_int_equal(cb_hwpc_queue_open(sink, &q, NULL), 0);
    for (int64_t t = 0; t < 20; t++) { /* of 8 MiB each */
        struct cb_hwpc_batch *batch = cb_hwpc_queue_take(q);
        uint64_t *values;

        assert_non_null(batch);
        cb_hwpc_batch_reset(batch, "s", t);
        for (int i = 0; i < 1 << 16; i++)
            assert_int_equal(cb_hwpc_batch_add(batch, &cgroup, "/a", &values), 0);
        memset(batch->values, 0, batch->n_values * sizeof(uint64_t));
        cb_hwpc_queue_push(q, batch);
    }
    lost = cb_hwpc_queue_close(q, 0);
    assert_int_equal(lost, 20 << 16);
    assert_int_equal(cb_hwpc_sink_close(sink, NULL), 0);
}

/* ---- a server that dies in the middle of a tick ---- */

#define LONG_NAME (3 << 20)
#define N_TICKS 12

static const struct cb_hwpc_form large = {true, 1, machine_groups, 1 << 20}; /* 8 MiB of values */

/* Tick @t with 8 MiB of room, of which its two reports need little. */
static void push_large(struct cb_hwpc_queue *q, int64_t t)
{
    struct cb_hwpc_batch *batch = cb_hwpc_queue_take(q);
    uint64_t *values;

    assert_non_null(batch);
    cb_hwpc_batch_reset(batch, "s", t);
    assert_int_equal(cb_hwpc_batch_add(batch, &large, "all", &values), 0);
    fill(batch, t);
    cb_hwpc_queue_push(q, batch);
}

/* A tick that no socket takes at once: four reports of 3 MB. */
static void push_long(struct cb_hwpc_queue *q, int64_t t)
{
    struct cb_hwpc_batch *batch = cb_hwpc_queue_take(q);
    char *name = malloc(LONG_NAME);

    assert_non_null(batch);
    assert_non_null(name);
    memset(name, 'x', LONG_NAME - 1);
    name[LONG_NAME - 1] = '\0';
    cb_hwpc_batch_reset(batch, "s", t);
    for (int i = 0; i < 4; i++) {
        uint64_t *values;

        assert_int_equal(cb_hwpc_batch_add(batch, &machine, name, &values), 0);
        memset(values, 0, machine.n_values * sizeof(*values));
    }
    cb_hwpc_queue_push(q, batch);
    free(name);
}

/* Read a whole report, and be gone. */
static void die_after_a_report(struct server *s, int fd)
{
    const struct linger reset = {.l_onoff = 1};
    char byte = 0;
    char text[4096];

    while (byte != '\n') {
        ssize_t n = recv(fd, text, sizeof(text), 0);

        assert_true(n > 0);
        byte = memchr(text, '\n', (size_t)n) ? '\n' : 0;
    }
    (void)close(s->listener);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    (void)close(fd);
}

struct taken {
    struct server server;
    size_t of_long, of_others;
};

/* All reports of one connection: those of tick 1, and of others. */
static void *take_all(void *context)
{
    static const char first[] = "{\"timestamp\":1,";
    struct taken *taken = context;
    FILE *in = fdopen(take_call(&taken->server), "r");
    char *line = NULL;
    size_t room = 0;

    assert_non_null(in);
    while (getline(&line, &room, in) > 0)
        if (strncmp(line, first, strlen(first)) == 0)
            taken->of_long++;
        else
            taken->of_others++;
    free(line);
    (void)fclose(in);
    return NULL;
}

static void a_tick_that_is_on_its_way_is_not_dropped(void **state)
{
    struct cb_hwpc_sink *sink = NULL;
    struct cb_hwpc_queue *q = NULL;
    struct taken taken = {0};
    pthread_t thread;
    uint64_t lost;
    uint16_t port;
    int fd;

    (void)state;
    listen_on(&taken.server, 0);
    port = (uint16_t)strtoul(taken.server.port, NULL, 10);
    assert_int_equal(open_sink(CB_HWPC_SOCKET, localhost, taken.server.port, &cgroup, &sink, NULL),
                     0);
    fd = take_call(&taken.server);
    assert_int_equal(cb_hwpc_queue_open(sink, &q, NULL), 0);
    push_long(q, 1);
    die_after_a_report(&taken.server, fd);
    (void)usleep(200000); /* the write fails, and the queue waits */
    for (int64_t t = 2; t < 2 + N_TICKS; t++)
        push_large(q, t);
    listen_on(&taken.server, port);
    assert_int_equal(pthread_create(&thread, NULL, take_all, &taken), 0);
    lost = cb_hwpc_queue_close(q, 20 * CB_NS_PER_S);
    assert_int_equal(cb_hwpc_sink_close(sink, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(taken.server.listener);
    assert_in_range(taken.of_long, 1, 3); /* those that were not handed over whole */
    assert_true(lost > 0 && lost % 2 == 0);
    assert_int_equal(taken.of_others + lost, 2 * N_TICKS);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_root_setup, fake_root_teardown)
    const struct CMUnitTest tests[] = {
        TEST(csv_has_a_file_for_each_group_and_every_tick_is_in_it),
        TEST(csv_mixes_with_nothing),
        cmocka_unit_test(socket_gets_one_line_for_each_report),
        cmocka_unit_test(socket_connects_anew_and_sends_what_was_not_taken),
        cmocka_unit_test(socket_goes_on_to_one_that_only_listens),
        cmocka_unit_test(a_server_that_is_not_there_is_said_at_start),
        cmocka_unit_test(an_uri_that_is_none_is_said_at_start),
        cmocka_unit_test(the_queue_writes_in_order_and_all_before_it_closes),
        cmocka_unit_test(what_cannot_be_delivered_is_counted),
        cmocka_unit_test(the_oldest_goes_when_too_many_wait),
        cmocka_unit_test(a_tick_that_is_on_its_way_is_not_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
